"""Fine-tuning of the denoiser on images of a concept, with the empty caption (Pham et al., 2024, section 3)."""

from collections.abc import Iterator
from pathlib import Path

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from .losses import denoising_loss, min_snr_weight, random_timesteps
from .models.base import Model, repeated
from .rng import generator
from .settings import Settings
from .training import Training, warm_average
from .vector import StateDict


class FineTune(Settings):
    """How theta_ft is made. The defaults are the embedded model's; for SD 1.4 the paper has lr 1e-5."""

    steps: PositiveInt = 200
    batch: PositiveInt = 16
    lr: PositiveFloat = 1e-4
    weight_decay: NonNegativeFloat = 0.0
    average: float = 0.9999  # limit of the decay of the running average of the weights
    control: bool = False  # also fine-tune on unrelated images, for build_vector.subtract_control


CHECKPOINT_EVERY = 50


def fine_tune(
    model: Model,
    latents: Tensor,
    settings: FineTune,
    seed: int,
    purpose: str,
    checkpoint: Path | None = None,
    labels: Tensor | None = None,
) -> Iterator[tuple[float, StateDict]]:
    """Yields (loss, averaged weights so far) after each step; the last weights are theta_ft.

    latents (N, ...) of images that show the concept. The caption is empty; with `labels` (M, ...) each sample gets one of
    these conditionings at random instead (the digits of Pham et al. have no empty caption). With `checkpoint` it resumes
    exactly.
    """
    training = Training.of(model.weights(), weight_decay=settings.weight_decay)
    training.go_on(checkpoint)
    student = model.with_weights(training.parameters)
    schedule, captions = model.noise_schedule, model.null if labels is None else labels
    if training.step >= settings.steps:
        yield 0.0, training.average
    while training.step < settings.steps:
        rng = generator(seed, f"{purpose}/{training.step}")
        which = torch.randint(len(latents), (settings.batch,), generator=rng)
        clean = latents[which]
        noise = torch.randn(clean.shape, generator=rng).to(clean.device)
        timesteps = random_timesteps(settings.batch, schedule, rng).to(clean.device)
        if len(captions) > 1:
            cond = captions[torch.randint(len(captions), (settings.batch,), generator=rng)]
        else:
            cond = repeated(captions, settings.batch)
        losses = denoising_loss(student.denoise, schedule, clean, cond, timesteps, noise)
        loss = (losses * min_snr_weight(schedule, timesteps)).mean()
        value = training.advance(loss, settings.lr, warm_average(training.step, settings.average))
        training.leave(checkpoint, CHECKPOINT_EVERY, settings.steps)
        yield value, {name: weight.clone() for name, weight in training.average.items()}
