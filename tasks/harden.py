"""The vector, hardened: it erases as before and harms less; and the findings of every round."""

import json

from tverase.files import read_tensors, write_json, write_tensors
from tverase.hardening.forget import forget_retain
from tverase.hardening.harden import harden
from tverase.hardening.teacher import Look, teacher_strength
from tverase.inversion.sets import InversionSet
from tverase.trial import Inputs
from tverase.vector import TaskVector

from ._attacks import attack_modules
from ._common import CONTROL_PROMPTS, context_of, model_path
from ._job import Job
from ._judge import judge_files
from ._plugins import run_plugins
from ._step import Step


def run(job: Job) -> None:
    """Rounds of distillation and attack; the vector stays as it is if no teacher erases. Resumes after a stop."""
    params, settings, context = job.params, job.params.harden, context_of(job)
    vector, teacher, looks = TaskVector.load(job.inputs["vector"]), settings.teacher, tuple[Look, ...]()
    rounds, findings, clean = [], {}, False
    if settings.max_rounds:
        images, about = read_tensors(job.inputs["images"])
        tune = InversionSet.load(job.inputs["inversions"] / "tune.safetensors")
        data = forget_retain(context, images, json.loads(about[CONTROL_PROMPTS]), tune, settings)
        if teacher is None:
            inputs = Inputs.of(context.model, context.concepts, {"tune": tune}, params.invert)
            looks = teacher_strength(context, vector, inputs, data, settings)
            teacher = looks[-1].alpha if looks[-1].erases else None
        if teacher is not None:
            for done in harden(context, vector, data, settings, teacher, job.scratch / "rounds"):
                rounds.append(done.as_dict())
                findings |= done.conditionings
                clean, hardened = done.clean, done.vector
            vector = hardened
    vector.save(job.outputs["hardened"])
    write_tensors(findings, job.outputs["findings"])
    about = {"teacher": teacher if rounds else None, "clean": clean, "looks": [look.as_dict() for look in looks]}
    write_json(job.outputs["hardening"], {**about, "rounds": rounds, "evaluations": job.meter.evaluations})


STEP = Step(
    name="harden",
    sections=("seed", "concepts", "judge", "sampling", "invert", "harden"),
    inputs=lambda params: {
        "model": model_path(params),
        "images": params.out / "images.safetensors",
        "vector": params.out / "selected.safetensors",
        "inversions": params.out / "inversions",
        **judge_files(params),
    },
    outputs=lambda params: {
        "hardened": params.out / "hardened.safetensors",
        "findings": params.out / "findings.safetensors",
        "hardening": params.out / "hardening.json",
    },
    run=run,
    plugins=lambda params: (*run_plugins(params), *attack_modules(params.harden.attacks)),
)

if __name__ == "__main__":
    from ._main import main

    main(STEP)
