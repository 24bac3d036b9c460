"""What a repair is taught by, shared by the step that repairs and by the search that repairs once more."""

import json

import torch

from tverase.files import read_tensors
from tverase.held import held
from tverase.inversion.sets import InversionSet
from tverase.models.base import Model
from tverase.repair import Lessons
from tverase.rng import generator

from ._common import CONTROL_PROMPTS, concept_latents
from ._job import Job

REPAIRED_AT = "repaired at"  # in the metadata of the repaired vector: the strength,
LOOKED_AT = "looked at"  # and the looks by which it was chosen


def lessons_of(job: Job, model: Model) -> Lessons:
    """What the teachers teach by: control images with their prompts, the concepts' images, and what has to stay away.

    What has to stay away: names, compositions and embeddings that tune, of every concept.
    """
    params, found = job.params, InversionSet.load(job.inputs["inversions"] / "tune.safetensors")
    images, about = read_tensors(job.inputs["images"])
    inputs = []
    for concept in params.concept_list:
        rng = generator(params.seed, f"repair/{concept.name}")
        points = found.accepted(concept.name).points.to(model.device)
        inputs.append(held(model, concept, points, params.invert, params.repair.inputs, rng))
    prompts = model.encode(json.loads(about[CONTROL_PROMPTS]))
    latents = concept_latents(job, images, model)
    return Lessons(
        images["latents/control"].to(model.device), prompts, torch.cat(list(latents.values())), torch.cat(inputs)
    )
