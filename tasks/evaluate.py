"""Base and erased model side by side, on what tuned nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from tverase.concepts import Concept, halves
from tverase.defences import Defended, named
from tverase.evaluation import Budget, Examiner, Tried, examine
from tverase.files import write_json, write_tensors
from tverase.inversion.sets import InversionSet
from tverase.judges.base import about
from tverase.models.base import Model
from tverase.models.folder import open_model
from tverase.registry import built
from tverase.report.pack import pack
from tverase.summary import metrics, summary
from tverase.vector import TaskVector

from ._attacks import attack_modules
from ._common import base_model, model_path
from ._job import Job
from ._judge import judge_files, judge_of
from ._plugins import run_plugins
from ._step import Step

SHARE = "share"  # of the edit, against which an attack searches; a key beside those of the attack


def run(job: Job) -> None:
    """Recovery by kind of input, the held-back embeddings, and what happened to everything else."""
    params, settings, base = job.params, job.params.evaluate, base_model(job)
    erased = open_model(job.inputs["erased"], params.runtime.device).metered(job.meter)
    concepts, judge = params.concept_list, judge_of(job)
    found = InversionSet.load(job.inputs["inversions"] / "report.safetensors")
    behind = _behind(settings.defences, erased, concepts)
    examiner = Examiner(base, erased, judge, params.sampling, params.seed, settings.shown, behind)

    budget = Budget(found, params.invert, settings.images, settings.images_each)
    rows = []
    for progress, row in examine(examiner, concepts, tried(settings.attacks), budget):
        job.tell(progress)
        rows.append(row)
    control = examiner.control(concepts, settings.controls)
    numbers = summary(rows, control, concepts)
    folder = job.outputs["evaluation"]
    folder.mkdir()
    alpha = float(TaskVector.load(job.inputs["tau"]).about["alpha"])
    write_tensors(pack(rows, control, settings.shown), folder / "pictures.safetensors")
    numbers["control"]["shown"] = [p.text for p in control.prompts[:: max(1, len(control.prompts) // settings.shown)]]
    write_json(folder / "evaluation.json", {**numbers, "judge": about(judge), "evaluations": job.meter.evaluations})
    write_json(job.outputs["metrics"], metrics(numbers, alpha))


def tried(attacks: Mapping[str, Mapping[str, Any]]) -> list[Tried]:
    """The attacks of the parameters, by label."""
    return [
        Tried(label, built("attack", spec), attacks[label].get(SHARE, 1.0)) for label, spec in plain(attacks).items()
    ]


def plain(attacks: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the attacks themselves are told."""
    return {label: {key: value for key, value in spec.items() if key != SHARE} for label, spec in attacks.items()}


def _behind(defences: Sequence[str], erased: Model, concepts: Sequence[Concept]) -> dict[str, Model]:
    """The erased model behind each defence. What a service knows are prompts for everything else, those that tune."""
    if not defences:
        return {}
    tuning, _ = halves(concepts)
    known = erased.encode([prompt.text for prompt in tuning])
    return {name: Defended(erased, named(name)(known)) for name in defences}


STEP = Step(
    name="evaluate",
    sections=("seed", "concepts", "judge", "sampling", "invert", "evaluate"),
    inputs=lambda params: {
        "model": model_path(params),
        "erased": params.out / "erased",
        "tau": params.out / "tau.safetensors",
        "inversions": params.out / "inversions",
        **judge_files(params),
    },
    outputs=lambda params: {"evaluation": params.out / "evaluation", "metrics": params.out / "metrics.json"},
    run=run,
    plugins=lambda params: (*run_plugins(params), *attack_modules(plain(params.evaluate.attacks).values())),
)

if __name__ == "__main__":
    from ._main import main

    main(STEP)
