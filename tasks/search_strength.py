"""The smallest strength at which everything fails that should, while the rest survives, and a margin above it."""

import json

from tverase.adaptive import learner
from tverase.errors import Infeasible
from tverase.files import read_tensors, write_json, write_text
from tverase.inversion.sets import InversionSet
from tverase.journal import Journal
from tverase.progress import Progress
from tverase.strength_search import search_strength
from tverase.trial import Inputs, ModelTrial, frontier
from tverase.vector import TaskVector
from tverase.world.vocabulary import vocabulary

from ._common import base_model, concept_latents, judge_paths, jury, model_path
from ._main import main
from ._mending import mender
from ._step import Job, Step
from .repair import LOOKED_AT, REPAIRED_AT


def run(job: Job) -> None:
    """Tune on names and `tune`, accept on `validate` and on words learned against it; then the curve, for people.

    Where such words draw a concept, the vector is repaired once more, and everything tried again. Resumes after a stop.
    """
    params, settings, model = job.params, job.params.search_strength, base_model(job)
    vector = TaskVector.load(job.inputs["vector"])
    sets = {role: InversionSet.load(job.inputs["inversions"] / f"{role}.safetensors") for role in ("tune", "validate")}
    inputs = Inputs.of(model, params.concept_list, sets, params.invert)
    trial = ModelTrial.of(
        model, vector, inputs, params.concept_list, jury(job), params.sampling, params.seed, vocabulary()
    )
    repaired = float(vector.about[REPAIRED_AT]) if REPAIRED_AT in vector.about else None
    mend = mender(job, model, trial, repaired) if repaired is not None and settings.mends else None
    latents = concept_latents(job, read_tensors(job.inputs["images"])[0], model)
    learn = learner(trial, params.concept_list, latents, settings.attack, params.invert, settings.attacked)
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
    about = {"repaired": repaired, "looked": looks, "evaluations": job.meter.evaluations}
    write_json(job.outputs["strength"], {**curve.as_dict(), **about})
    write_text(job.outputs["curve"], curve.as_csv())


def require_alpha(answer: dict[str, object], when: str) -> float:
    """The strength to use; `Infeasible` if there is none and the parameters do not ask for the safest one."""
    if answer["alpha"] is not None:
        return float(str(answer["alpha"]))
    if when == "safest" and answer["safe_alpha"] is not None:
        return float(str(answer["safe_alpha"]))
    raise Infeasible(
        f"no strength meets both bounds: {answer['reason']}. The frontier is in strength.json; allow more loss "
        "(search_strength.delta), ask for less (search_strength.epsilon), or set "
        "search_strength.when_infeasible=safest to go on with the smallest strength that erases."
    )


STEP = Step(
    name="search_strength",
    sections=("seed", "concepts", "sampling", "invert", "repair", "search_strength"),
    inputs=lambda params: {
        "model": model_path(params),
        "images": params.out / "images.safetensors",
        "selected": params.out / "selected.safetensors",
        "vector": params.out / "repaired.safetensors",
        "learned": params.out / "learned.safetensors",
        "inversions": params.out / "inversions",
        **judge_paths(params),
    },
    outputs=lambda params: {
        "vector": params.out / "mended.safetensors",  # the one that was repaired, unless it had to be once more
        "strength": params.out / "strength.json",
        "curve": params.out / "curve.csv",
    },
    run=run,
    code=(
        "tverase.strength", "tverase.strength_search", "tverase.adaptive", "tverase.attacks.concept_inversion", "tverase.inversion.diverse",
        "tverase.inversion.moving", "tverase.inversion.fitting", "tverase.losses", "tverase.spaces.cone", "tverase.trial", "tverase.bounds",
        "tverase.concepts", "tverase.sampling", "tverase.inversion.run", "tverase.spaces.tokens", "tverase.spaces.states",
        "tverase.repair", "tverase.held", "tverase.vector", "tverase.training", "tverase.models.text2image",
        "tverase.journal", "tasks._mending", "tasks.repair",
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(STEP)
