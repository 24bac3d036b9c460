"""The strengths that Diverse Inversion picks for a digit, by the same search as for pictures."""

from tverase.digitrun import TASK_VECTORS
from tverase.files import write_json
from tverase.inversion.run import InversionRun
from tverase.inversion.sets import by_bin
from tverase.progress import Progress
from tverase.strength_search import search_strength
from tverase.trial import Inputs, ModelTrial
from tverase.vector import TaskVector
from tverase.world.digit_concepts import digit_concept

from ._digits import base, home, judge, model_folder, out, own_latents
from ._job import Job
from ._step import Step


def run(job: Job) -> None:
    """Codes in bins of the angle to the digit's own; then for each task vector the smallest strength that all fail at."""
    settings, seed, model, seen = job.params.digits, job.params.seed, base(job), judge(job)
    concept, sampling = digit_concept(settings.digit), settings.sampling
    latents = own_latents(job, model, "digit_strength/images")
    inversion = InversionRun(model, concept, settings.invert, seen, sampling, seed, ("tune", "validate"))
    sets = inversion.run(latents, job.tell)
    inputs = Inputs.of(model, [concept], sets, settings.invert)
    curves, trial = {}, None
    for method in [m for m in TASK_VECTORS if m in settings.vectors.methods]:
        vector = TaskVector.load(job.inputs["vectors"] / f"{method}.safetensors")
        judged = concept.retain, seen, sampling, seed
        trial = trial.of_vector(vector) if trial else ModelTrial(model, vector, inputs, *judged)
        for curve in search_strength(trial, inputs.names["tune"], inputs.names["validate"], settings.strength):
            done, note = len(curve.tested), f"{method} {curve.tested[-1].alpha:g}"
            job.tell(Progress("searching the strength", done, settings.strength.visits, note))
        curves[method] = curve.as_dict()
    bins = {role: by_bin(found.found) for role, found in sets.items()}
    write_json(job.outputs["strength"], {"vectors": curves, "by_bin": bins, "evaluations": job.meter.evaluations})


STEP = Step(
    name="digit_strength",
    sections=("seed", "digits.digit", "digits.sampling", "digits.vectors", "digits.invert", "digits.strength"),
    inputs=lambda params: {"model": model_folder(params), "vectors": out(params) / "vectors"},
    outputs=lambda params: {"strength": out(params) / "strength.json"},
    run=run,
    home=home,
)

if __name__ == "__main__":
    from ._main import main

    main(STEP)
