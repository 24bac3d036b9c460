"""Answer the concept's name as a prompt of the retain set, and leave all other inputs as they are.

The input-dependent baseline of Pham et al. (2024, section 3). `esd`, in esd.py, shares the training: it teaches the denoiser
to answer with less of the concept than without a prompt. Both end with edited weights; the vector that leads from them back
to the base erases at strength 1.
"""

from collections.abc import Callable, Iterator
from functools import reduce
from operator import add

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from ..concepts import Concept
from ..losses import random_timesteps
from ..models.base import Model, repeated
from ..progress import Progress
from ..rng import generator
from ..settings import Settings
from ..training import Training
from ..vector import StateDict, TaskVector
from .base import Material

PAPER = "Pham et al., 2024, arXiv:2404.03631"
Steps = Iterator[tuple[float, StateDict]]
Target = Callable[[Tensor, Tensor, Tensor], Tensor]  # (noised, timesteps, concept's cond) -> what to answer


class Resteer(Settings):
    """How long the concept's conditioning is taught another answer."""

    steps: PositiveInt = 180
    batch: int = Field(default=32, ge=2)  # half of it learns, half is held
    lr: PositiveFloat = 2e-4
    negative: PositiveFloat = 1.0  # esd: how far beyond the unconditional answer

    def run(self, material: Material) -> TaskVector:
        """The name of each concept is taught what the first prompt of the retain set draws."""
        model, held = material.model, material.retain_cond

        def train(concept: Concept) -> Steps:
            own = material.names(concept)
            return resteer(model, own, held[:1], material.retain_latents, held, self, material.seed)

        return taught(material, train, self.steps)


PLUGIN = Resteer


def taught(material: Material, train: Callable[[Concept], Steps], steps: int) -> TaskVector:
    """The sum over the concepts of the vectors that lead from what `train` teaches back to the base model."""
    base, vectors = material.model.weights(), []
    for concept in material.concepts:
        weights = base
        for step, (loss, weights) in enumerate(train(concept), 1):  # noqa: B007 - the last weights are the edited ones
            material.tell(Progress(f"training on {concept.name}", step, steps, f"loss {loss:.4f}"))
        vectors.append((-1.0) * TaskVector.between(base, weights))
    return reduce(add, vectors)


def resteer(
    model: Model, cond: Tensor, other: Tensor, latents: Tensor, keep: Tensor, settings: Resteer, seed: int
) -> Iterator[tuple[float, StateDict]]:
    """Yields (loss, edited weights so far). cond, other (1, ...): the concept's and the new conditioning; keep (M, ...): held.

    latents (N, ...) of anything the model draws.
    """

    def target(noised: Tensor, timesteps: Tensor, _: Tensor) -> Tensor:
        return model.denoise(noised, timesteps, repeated(other, len(noised)))

    yield from _teach(model, cond, target, latents, keep, settings, seed, "resteer")


def esd(
    model: Model, cond: Tensor, latents: Tensor, keep: Tensor, settings: Resteer, seed: int
) -> Iterator[tuple[float, StateDict]]:
    """The same with ESD's target: the unconditional answer less `negative` times what the concept adds to it."""

    def target(noised: Tensor, timesteps: Tensor, concept: Tensor) -> Tensor:
        null = repeated(model.null, len(noised))
        without = model.denoise(noised, timesteps, null)
        return without - settings.negative * (model.denoise(noised, timesteps, concept) - without)

    yield from _teach(model, cond, target, latents, keep, settings, seed, "esd")


def _teach(
    model: Model, cond: Tensor, target: Target, latents: Tensor, keep: Tensor, settings: Resteer, seed: int, name: str
) -> Iterator[tuple[float, StateDict]]:
    """Half of each batch learns the target under `cond`; the other half holds the base model's answer under `keep`."""
    training = Training.of(model.weights())
    student, process, half = model.with_weights(training.parameters), model.noise, settings.batch // 2
    for step in range(settings.steps):
        rng = generator(seed, f"{name}/{step}")
        clean = latents[torch.randint(len(latents), (2 * half,), generator=rng)]
        timesteps = random_timesteps(2 * half, process.timesteps, rng).to(clean.device)
        noised = process.corrupt(clean, timesteps, torch.randn(clean.shape, generator=rng).to(clean.device))
        held = keep[torch.randint(len(keep), (half,), generator=rng)]
        concept = repeated(cond, half)
        with torch.no_grad():
            learned = target(noised[:half], timesteps[:half], concept)
            kept = model.denoise(noised[half:], timesteps[half:], held)
        answer = student.denoise(noised, timesteps, torch.cat([concept, held]))
        loss = (answer - torch.cat([learned, kept])).square().mean()
        value = training.advance(loss, settings.lr, 0.0)
        yield value, training.parameters
