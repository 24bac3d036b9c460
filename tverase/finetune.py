"""Fine-tuning of the denoiser on images of a concept, with the empty caption (Pham et al., 2024, section 3)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from .dropout import dropping
from .losses import denoising_loss, random_timesteps
from .models.base import Model, uncaptioned
from .rng import generator
from .settings import Settings
from .training import Training, warm_average
from .vector import StateDict
from .vectors.copies import copy_name


class FineTune(Settings):
    """How theta_ft is made. The defaults are the embedded model's; for SD 1.4 the paper has lr 1e-5."""

    steps: PositiveInt = 200
    batch: PositiveInt = 16
    lr: PositiveFloat = 1e-4
    weight_decay: NonNegativeFloat = 0.0  # towards theta_0 (tverase/anchor.py)
    l1: NonNegativeFloat = 0.0  # of theta - theta_0, in steps of the optimiser: at 1 hardly a weight moves
    dropout: float = Field(default=0.0, ge=0, lt=1)
    average: float = 0.9999  # limit of the decay of the running average of the weights
    # Under the concept's first name instead of without a caption: a vector that depends on its input, for comparison.
    named: bool = False
    control: bool = False  # also fine-tune on unrelated images, for build_vector.subtract_control
    # One fine-tune on the images of all concepts, about as long as one concept's; false: one each, whose vectors are combined
    # (`build_vector.combine`), and whose sum is a ruin long before it erases.
    joint: bool = True
    copies: PositiveInt = 1  # fine-tunes with other seeds, which build_vector.merge makes one vector of
    copies_lr: tuple[PositiveFloat, ...] = Field(
        default=(1.0,), min_length=1
    )  # factors of lr, one copy after the other

    @model_validator(mode="after")
    def _every_rate_has_a_copy(self) -> Self:
        if len(self.copies_lr) > self.copies:
            given = f"copies_lr has {len(self.copies_lr)} factors, copies is {self.copies}"
            raise ValueError(f"{given}: some would never be used; ask for more copies or for fewer factors")
        return self

    def each_copy(self, name: str) -> Iterator[tuple[str, Self]]:
        """(name, settings) of each fine-tune of `name`; the names tell the seeds apart, the first is `name` itself."""
        for number in range(self.copies):
            rate = self.lr * self.copies_lr[number % len(self.copies_lr)]
            yield copy_name(name, number), self.model_copy(update={"lr": rate})


CHECKPOINT_EVERY = 50


def fine_tune(
    model: Model,
    latents: Tensor,
    settings: FineTune,
    seed: int,
    purpose: str,
    checkpoint: Path | None = None,
    captions: Tensor | None = None,
) -> Iterator[tuple[float, StateDict]]:
    """Yields (loss, averaged weights so far) after each step; the last weights are theta_ft.

    latents (N, ...) of images that show the concept. They have no caption (`uncaptioned`), or row i has the conditioning i
    of `captions` (N, ...). With `checkpoint` it resumes exactly.
    """
    training = Training.of(model.weights(), decay=settings.weight_decay, l1=settings.l1)
    training.go_on(checkpoint)
    student = model.with_weights(training.parameters)
    process = model.noise
    if training.step >= settings.steps:
        yield 0.0, training.result()
    while training.step < settings.steps:
        rng = generator(seed, f"{purpose}/{training.step}")
        which = torch.randint(len(latents), (settings.batch,), generator=rng)
        clean = latents[which]
        noise = torch.randn(clean.shape, generator=rng).to(clean.device)
        timesteps = random_timesteps(settings.batch, process.timesteps, rng).to(clean.device)
        cond = uncaptioned(model, settings.batch, rng) if captions is None else captions[which]
        with dropping(model, settings.dropout, generator(seed, f"{purpose}/{training.step}/dropout")):
            losses = denoising_loss(student.denoise, process, clean, cond, timesteps, noise)
        loss = (losses * process.weight(timesteps)).mean()
        value = training.advance(loss, settings.lr, warm_average(training.step, settings.average))
        training.leave(checkpoint, CHECKPOINT_EVERY, settings.steps)
        yield value, training.result()
