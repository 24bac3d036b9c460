"""The smallest strength at which everything fails that should, while the rest survives, and a margin above it."""

import json

from tverase.adaptive import learner
from tverase.files import read_tensors, write_json, write_text
from tverase.inversion.sets import InversionSet
from tverase.journal import Journal
from tverase.judges.base import about as said_of
from tverase.progress import Progress
from tverase.strength_search import search_strength
from tverase.trial import Inputs, ModelTrial, frontier
from tverase.vector import TaskVector

from ._attacks import attack_modules, attacks_of
from ._common import base_model, concept_latents, model_path
from ._job import Job
from ._judge import judge_files, judge_of
from ._lessons import LOOKED_AT, REPAIRED_AT
from ._mending import mender
from ._plugins import run_plugins
from ._step import Step


def run(job: Job) -> None:
    """Tune on names and `tune`, accept on `validate` and on words learned against it; then the curve, for people.

    Where such words draw a concept, the vector is repaired once more, and everything tried again. Resumes after a stop.
    """
    params, settings, model, judge = job.params, job.params.search_strength, base_model(job), judge_of(job)
    vector = TaskVector.load(job.inputs["vector"])
    sets = {role: InversionSet.load(job.inputs["inversions"] / f"{role}.safetensors") for role in ("tune", "validate")}
    inputs = Inputs.of(model, params.concept_list, sets, params.invert)
    trial = ModelTrial.of(model, vector, inputs, params.concept_list, judge, params.sampling, params.seed)
    repaired = float(vector.about[REPAIRED_AT]) if REPAIRED_AT in vector.about else None
    mend = mender(job, model, trial, repaired) if repaired is not None and settings.mends else None
    latents = concept_latents(job, read_tensors(job.inputs["images"])[0], model)
    learn = learner(trial, params.concept_list, latents, attacks_of(settings.attacks), params.invert, settings.attacked)
    names, journal = (inputs.names["tune"], inputs.names["validate"]), Journal(trial, job.scratch)
    learn, mend = journal.learning(learn), journal.mending(mend) if mend else None
    for curve in search_strength(journal, *names, settings, learn=learn, repaired=repaired, mend=mend):
        tested = curve.tested[-1]
        note = f"alpha {tested.alpha:g} {'safe' if tested.safe else 'unsafe'}: worst {tested.worst}"
        job.tell(Progress("searching the strength", len(curve.tested), settings.visits, note))
    curve = frontier(trial, curve, inputs, settings, job.tell)
    notes = {"mended": str(curve.mends)} if curve.mends else {}  # the same bytes as before, if nothing was mended
    trial.vector.noting(**notes).save(job.outputs["vector"])
    looks = json.loads(vector.about.get(LOOKED_AT, "[]"))  # by which the repair chose the edit that taught it
    about = {"judge": said_of(judge), "repaired": repaired, "looked": looks, "evaluations": job.meter.evaluations}
    write_json(job.outputs["strength"], {**curve.as_dict(), **about})
    write_text(job.outputs["curve"], curve.as_csv())


STEP = Step(
    name="search_strength",
    sections=("seed", "concepts", "judge", "sampling", "invert", "repair", "search_strength"),
    inputs=lambda params: {
        "model": model_path(params),
        "images": params.out / "images.safetensors",
        "selected": params.out / "selected.safetensors",
        "vector": params.out / "repaired.safetensors",
        "learned": params.out / "learned.safetensors",
        "inversions": params.out / "inversions",
        **judge_files(params),
    },
    outputs=lambda params: {
        "vector": params.out / "mended.safetensors",  # the one that was repaired, unless it had to be once more
        "strength": params.out / "strength.json",
        "curve": params.out / "curve.csv",
    },
    run=run,
    plugins=lambda params: (*run_plugins(params), *attack_modules(params.search_strength.attacks)),
)

if __name__ == "__main__":
    from ._main import main

    main(STEP)
