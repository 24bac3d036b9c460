"""What the regularised task vectors share: fine-tuning as in tverase/finetune.py, with something else in the loss."""

from collections.abc import Callable

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from ..concepts import run_name
from ..losses import random_timesteps
from ..models.base import Conditioning, Model, uncaptioned
from ..rng import generator
from ..settings import Settings
from ..training import Training, warm_average
from ..vector import TaskVector
from .base import Material
from .teaching import Steps, last


class Tuned(Settings):
    """A fine-tuning on the images of all concepts with the empty caption: half the steps of `finetune` at twice its rate."""

    steps: PositiveInt = 100
    batch: PositiveInt = 16
    lr: PositiveFloat = 2e-4
    average: float = 0.9999  # limit of the decay of the running average of the weights


class Batch:
    """Noised images of the concepts, their conditionings, and what is to be predicted; drawn as `fine_tune` draws."""

    def __init__(self, model: Model, latents: Tensor, count: int, rng: torch.Generator) -> None:
        clean = latents[torch.randint(len(latents), (count,), generator=rng)]
        noise = torch.randn(clean.shape, generator=rng).to(clean.device)
        self.timesteps = random_timesteps(count, model.noise.timesteps, rng).to(clean.device)
        self.cond: Conditioning = uncaptioned(model, count, rng)
        self.latents = model.noise.corrupt(clean, self.timesteps, noise)
        self._target = model.noise.target(clean, self.timesteps, noise)
        self._weight = model.noise.weight(self.timesteps)

    def loss(self, answer: Tensor) -> Tensor:
        """The weighted mean squared error of an answer."""
        errors = (answer - self._target).square().flatten(1).mean(1)
        return (errors * self._weight).mean()


def tuned(
    material: Material, settings: Tuned, loss: Callable[[Training, Batch, torch.Generator], Tensor]
) -> TaskVector:
    """The vector of one fine-tuning on the images of all concepts. loss: of a training and a batch, with more randomness."""
    model, name = material.model, run_name(material.concepts)
    latents = torch.cat([material.latents[concept.name] for concept in material.concepts])

    def rounds() -> Steps:
        training = Training.of(model.weights())
        while training.step < settings.steps:
            rng = generator(material.seed, f"finetune/{name}/{training.step}")
            batch = Batch(model, latents, settings.batch, rng)
            decay = warm_average(training.step, settings.average)
            yield training.advance(loss(training, batch, rng), settings.lr, decay), training.result()

    weights = last(rounds(), settings.steps, material, f"fine-tuning on {name}", model.weights())
    return TaskVector.between(model.weights(), weights)
