"""Base and erased model side by side, on what tuned nothing."""

from collections.abc import Sequence

from tverase.concepts import Concept, halves
from tverase.defences import Defended, named
from tverase.evaluate import LEARNED, Attack, Examiner, examine
from tverase.files import write_json, write_tensors
from tverase.inversion.run import space_of, words_of
from tverase.inversion.sets import InversionSet
from tverase.judges.base import about
from tverase.models.base import Model
from tverase.models.folder import open_model
from tverase.report.pack import pack
from tverase.spaces.base import InputSpace
from tverase.spaces.states import StateSpace
from tverase.summary import metrics, summary
from tverase.vector import TaskVector

from ._common import base_model, model_path
from ._job import Job
from ._judge import judge_files, judge_of
from ._plugins import run_plugins
from ._step import Step


def run(job: Job) -> None:
    """Recovery by kind of input, the held-back embeddings, and what happened to everything else."""
    params, settings, base = job.params, job.params.evaluate, base_model(job)
    erased = open_model(job.inputs["erased"], params.runtime.device).metered(job.meter)
    concepts, judge = params.concept_list, judge_of(job)
    found = InversionSet.load(job.inputs["inversions"] / "report.safetensors")
    behind = _behind(settings.defences, erased, concepts)
    examiner = Examiner(base, erased, judge, params.sampling, params.seed, settings.shown, behind)

    def embeddings(concept: Concept) -> InputSpace:
        return space_of(base, concept, params.invert)

    def words_in(concept: Concept) -> InputSpace:
        return words_of(base, concept, params.invert)

    on_words, on_weaker, on_states = LEARNED
    attacks = [
        Attack(on_words, words_in, settings.attack),
        Attack(on_weaker, words_in, settings.weaker, settings.share),
        Attack(on_states, lambda concept: StateSpace(base, concept.template), settings.states),
    ]
    rows = []
    for progress, row in examine(examiner, concepts, found, embeddings, settings.images, settings.images_each, attacks):
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
    plugins=run_plugins,
)

if __name__ == "__main__":
    from ._main import main

    main(STEP)
