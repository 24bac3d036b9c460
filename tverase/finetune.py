"""Fine-tuning of the denoiser on images of a concept, with the empty caption (Pham et al., 2024, section 3)."""

from collections.abc import Iterator
from pathlib import Path

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from .losses import denoising_loss, random_timesteps
from .models.base import Model, uncaptioned
from .rng import generator
from .settings import Settings
from .training import Training, warm_average
from .vector import StateDict


class FineTune(Settings):
    """How theta_ft is made. The defaults are the embedded model's; for SD 1.4 the paper has lr 1e-5."""

    steps: PositiveInt = 200
    batch: PositiveInt = 16
    lr: PositiveFloat = 1e-4
    weight_decay: NonNegativeFloat = 0.0  # towards theta_0 (tverase/anchor.py)
    average: float = 0.9999  # limit of the decay of the running average of the weights
    # Under the concept's first name instead of without a caption: a vector that depends on its input, for comparison.
    named: bool = False
    # One fine-tune on the images of all concepts, about as long as one concept's; false: one each, whose vectors are summed,
    # and whose sum ruins the rest long before it erases.
    joint: bool = True
    copies: PositiveInt = 1  # fine-tunes with other seeds; the vector is what all of them agree on


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
    training = Training.of(model.weights(), decay=settings.weight_decay)
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
        losses = denoising_loss(student.denoise, process, clean, cond, timesteps, noise)
        loss = (losses * process.weight(timesteps)).mean()
        value = training.advance(loss, settings.lr, warm_average(training.step, settings.average))
        training.leave(checkpoint, CHECKPOINT_EVERY, settings.steps)
        yield value, training.result()
