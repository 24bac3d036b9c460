"""The vector, repaired: it erases as before and does less harm."""

import json

import torch
from torch import Tensor

from tverase.files import read_tensors
from tverase.held import held, relearned
from tverase.inversion.sets import InversionSet
from tverase.models.base import Model
from tverase.models.text2image import TextToImage
from tverase.progress import Progress
from tverase.repair import Learn, Lessons, repair
from tverase.rng import generator
from tverase.vector import TaskVector

from ._common import base_model, model_path
from ._main import main
from ._step import Job, Step
from .make_images import CONTROL_PROMPTS


def run(job: Job) -> None:
    """Base model and edited model teach: the one on control prompts, the other on the concepts. Resumes after a stop."""
    settings, model, repaired = job.params.repair, base_model(job), TaskVector.load(job.inputs["vector"])
    if settings.steps:
        lessons, checkpoint = lessons_of(job, model), job.scratch / "repair.safetensors"
        for step in repair(model, repaired, lessons, settings, job.params.seed, checkpoint, learner(job, model)):
            repaired = step.vector
            job.tell(Progress("repairing", step.number, settings.steps, f"loss {step.loss:.4f}"))
    repaired.noting(repaired=str(settings.steps)).save(job.outputs["repaired"])


def lessons_of(job: Job, model: TextToImage) -> Lessons:
    """Control images with their prompts; the concepts' images with names, compositions and embeddings that tune."""
    params, (images, about) = job.params, read_tensors(job.inputs["images"])
    found = InversionSet.load(job.inputs["inversions"] / "tune.safetensors")
    latents, inputs = [], []
    for concept in params.concept_list:
        rng = generator(params.seed, f"repair/{concept.name}")
        points = found.accepted(concept.name).points.to(model.device)
        latents.append(images[f"latents/{concept.slug}"])
        inputs.append(held(model, concept, points, params.invert, params.repair.inputs, rng))
    prompts = json.loads(about[CONTROL_PROMPTS])
    control = images["latents/control"].to(model.device), model.encode(prompts)
    return Lessons(*control, torch.cat(latents).to(model.device), torch.cat(inputs))


def learner(job: Job, model: TextToImage) -> Learn:
    """What learns words against the model under repair, for each concept."""
    params, (images, _) = job.params, read_tensors(job.inputs["images"])
    settings = params.repair

    def learn(attacked: Model, number: int) -> Tensor:
        found = []
        for concept in params.concept_list:
            job.tell(Progress("learning words against it", number + 1, settings.rounds, concept.name))
            latents = images[f"latents/{concept.slug}"].to(model.device)
            rng = generator(params.seed, f"repair/{concept.name}/round {number}")
            how = params.invert, settings.attack, settings.inputs
            found.append(relearned(model, attacked, concept, latents, *how, rng))
        return torch.cat(found)

    return learn


STEP = Step(
    name="repair",
    sections=("seed", "concepts", "invert", "repair"),
    inputs=lambda params: {
        "model": model_path(params),
        "images": params.out / "images.safetensors",
        "vector": params.out / "vector.safetensors",
        "inversions": params.out / "inversions",
    },
    outputs=lambda params: {"repaired": params.out / "repaired.safetensors"},
    run=run,
    code=(
        "tverase.repair", "tverase.held", "tverase.attacks.concept_inversion", "tverase.inversion.diverse", "tverase.concepts", "tverase.vector", "tverase.training", "tverase.losses", "tverase.spaces.cone",
        "tverase.spaces.tokens", "tverase.models.text2image",
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(STEP)
