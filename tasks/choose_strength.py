"""The smallest strength at which every input fails, while the retain set survives."""

from tverase.files import read_json, read_tensors, write_json, write_text
from tverase.inversion.sets import InversionSet
from tverase.judges.base import about
from tverase.strength.choose import StrengthChoice, as_csv
from tverase.strength.curve import choose_strength
from tverase.trial import Inputs
from tverase.vector import TaskVector

from ._attacks import attack_modules
from ._common import concept_latents, context_of, model_path
from ._job import Job
from ._judge import judge_files
from ._plugins import run_plugins
from ._step import Step


def run(job: Job) -> None:
    """Explore on `tune`, confirm on `validate` and on fresh attacks; then the curve, for people. Resumes after a stop."""
    params, context, choice = job.params, context_of(job), StrengthChoice()
    vector, teacher = TaskVector.load(job.inputs["vector"]), read_json(job.inputs["hardening"])["teacher"]
    sets = {role: InversionSet.load(job.inputs["inversions"] / f"{role}.safetensors") for role in ("tune", "validate")}
    inputs = Inputs.of(context.model, context.concepts, sets, params.invert)
    latents = concept_latents(job, read_tensors(job.inputs["images"])[0], context.model)
    settings, kept = params.choose_strength, job.scratch / "strengths"
    for choice in choose_strength(context, vector, inputs, latents, settings, teacher, kept):  # noqa: B007 - the last one
        pass
    judged = {"judge": about(context.judge), "evaluations": job.meter.evaluations}
    write_json(job.outputs["strength"], {**choice.as_dict(), **judged})
    write_text(job.outputs["curve"], as_csv(choice.frontier))


STEP = Step(
    name="choose_strength",
    sections=("seed", "concepts", "judge", "sampling", "invert", "choose_strength"),
    inputs=lambda params: {
        "model": model_path(params),
        "images": params.out / "images.safetensors",
        "vector": params.out / "hardened.safetensors",
        "hardening": params.out / "hardening.json",
        "inversions": params.out / "inversions",
        **judge_files(params),
    },
    outputs=lambda params: {"strength": params.out / "strength.json", "curve": params.out / "curve.csv"},
    run=run,
    plugins=lambda params: (*run_plugins(params), *attack_modules(params.choose_strength.attacks)),
)

if __name__ == "__main__":
    from ._main import main

    main(STEP)
