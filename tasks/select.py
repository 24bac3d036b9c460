"""Which weights are edited: the vector, each group of parameters at its own strength."""

import json

import torch

from tverase.concepts import halves, spread
from tverase.files import read_tensors, write_json
from tverase.inversion.sets import InversionSet
from tverase.models.base import in_turn
from tverase.rng import generator
from tverase.selection.choose import Material, select
from tverase.selection.profile import Examples
from tverase.trial import Inputs, ModelTrial
from tverase.vector import TaskVector

from ._common import CONTROL_PROMPTS, base_model, model_path
from ._job import Job
from ._judge import judge_files, judge_of
from ._plugins import run_plugins
from ._step import Step

EACH = 8  # conditionings of an input, which may be several prompts


def run(job: Job) -> None:
    """A task vector again, so that repair, strength and files know nothing of it; and how it was found."""
    settings, vector = job.params.select, TaskVector.load(job.inputs["vector"])
    selection = select(vector, settings, lambda: material(job, vector), job.params.seed, job.tell)
    selected = selection.scaled(vector)
    if settings.how != "all":  # the default's file is the vector's, byte for byte
        selected = selected.noting(selected=settings.layers or settings.how)
    selected.save(job.outputs["selected"])
    about = {"how": settings.how, "alpha": settings.alpha, "evaluations": job.meter.evaluations}
    write_json(job.outputs["selection"], {**selection.as_dict(), **about})


def material(job: Job, vector: TaskVector) -> Material:
    """The model, and all that tunes: names, compositions and embeddings, the first half of the controls, images of both."""
    params, model = job.params, base_model(job)
    tune = InversionSet.load(job.inputs["inversions"] / "tune.safetensors")
    inputs = Inputs.of(model, params.concept_list, {"tune": tune}, params.invert)
    tuning, _ = halves(params.concept_list)
    controls = spread(tuning, len(tuning), generator(params.seed, "select/prompts"))
    trial = ModelTrial(model, vector, inputs, controls, judge_of(job), params.sampling, params.seed, "select")
    images, about = read_tensors(job.inputs["images"])
    concepts = []
    for concept in params.concept_list:
        mine = [name for name in inputs.names["tune"] if inputs.concept[name].name == concept.name]
        cond = torch.cat([in_turn(inputs.cond[name], EACH) for name in mine])
        concepts.append((images[f"latents/{concept.slug}"].to(model.device), cond))
    kept = images["latents/control"].to(model.device), model.encode(json.loads(about[CONTROL_PROMPTS]))
    return Material(trial, Examples(concepts, kept))


STEP = Step(
    name="select",
    sections=("seed", "concepts", "judge", "sampling", "invert", "select"),
    inputs=lambda params: {
        "vector": params.out / "vector.safetensors",
        **(
            {}
            if params.select.how in ("all", "blocks")
            else {
                "model": model_path(params),
                "images": params.out / "images.safetensors",
                "inversions": params.out / "inversions",
                **judge_files(params),
            }
        ),
    },
    outputs=lambda params: {
        "selected": params.out / "selected.safetensors",
        "selection": params.out / "selection.json",
    },
    run=run,
    plugins=run_plugins,
)

if __name__ == "__main__":
    from ._main import main

    main(STEP)
