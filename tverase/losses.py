"""The one denoising loss: how far the denoiser's prediction is from what it was trained to predict."""

from typing import Any

import torch
from torch import Tensor


def target(scheduler: Any, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the denoiser should answer, by the scheduler's `prediction_type` (epsilon, v_prediction or sample)."""
    kind = scheduler.config.prediction_type
    if kind == "v_prediction":
        velocity: Tensor = scheduler.get_velocity(clean, noise, timesteps)
        return velocity
    return clean if kind == "sample" else noise


def signal_to_noise(scheduler: Any, timesteps: Tensor) -> Tensor:
    """alpha_bar / (1 - alpha_bar) at each timestep, (B,)."""
    kept: Tensor = scheduler.alphas_cumprod.to(timesteps.device)[timesteps]
    return kept / (1 - kept)


def min_snr_weight(scheduler: Any, timesteps: Tensor, gamma: float = 5.0) -> Tensor:
    """Weights (B,) that keep easy, nearly clean timesteps from ruling (Hang et al., 2023, arXiv:2303.09556)."""
    snr = signal_to_noise(scheduler, timesteps)
    capped = snr.clamp(max=gamma)
    kind = scheduler.config.prediction_type
    if kind == "v_prediction":
        return capped / (snr + 1)
    return capped if kind == "sample" else capped / snr


def denoising_loss(
    denoise: Any, scheduler: Any, clean: Tensor, cond: Tensor, timesteps: Tensor, noise: Tensor
) -> Tensor:
    """Mean squared error of `denoise(noised, timesteps, cond)` for each sample (B,).

    clean, noise: (B, ...); cond: (B, T, D); timesteps: long (B,). Differentiable in the denoiser's weights and in `cond`.
    """
    noised = scheduler.add_noise(clean, noise, timesteps)
    error: Tensor = denoise(noised, timesteps, cond) - target(scheduler, clean, noise, timesteps)
    return (error**2).flatten(1).mean(1)


def random_timesteps(
    count: int, scheduler: Any, rng: torch.Generator, span: tuple[float, float] = (0.0, 1.0)
) -> Tensor:
    """Uniform timesteps, stratified so that a batch covers them evenly; long (count,), in random order.

    span: the part of all timesteps that they are from, 0 the clean end and 1 pure noise.
    """
    total: int = scheduler.config.num_train_timesteps
    low, high = span
    even = low + (high - low) * ((torch.arange(count) + torch.rand(count, generator=rng)) / count)
    steps = (even * total).long().clamp(0, total - 1)
    return steps[torch.randperm(count, generator=rng)]
