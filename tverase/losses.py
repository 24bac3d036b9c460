"""The one denoising loss: the distance between the denoiser's prediction and the target of the noise process."""

from typing import Any

import torch
from torch import Tensor

from .noise import NoiseProcess


def denoising_loss(
    denoise: Any, process: NoiseProcess, clean: Tensor, cond: Tensor, timesteps: Tensor, noise: Tensor
) -> Tensor:
    """Mean squared error of `denoise(noised, timesteps, cond)` for each sample (B,), without a weight.

    clean, noise: (B, ...); cond: (B, ...); timesteps: long (B,). Differentiable in the denoiser's weights and in `cond`.
    """
    noised = process.corrupt(clean, timesteps, noise)
    error: Tensor = denoise(noised, timesteps, cond) - process.target(clean, timesteps, noise)
    return (error**2).flatten(1).mean(1)


def random_timesteps(count: int, total: int, rng: torch.Generator, span: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """Uniform timesteps of `total`, stratified so that a batch covers them evenly; long (count,), in random order.

    span: the part of all timesteps that they are from, 0 the clean end and 1 pure noise.
    """
    low, high = span
    even = low + (high - low) * ((torch.arange(count) + torch.rand(count, generator=rng)) / count)
    steps = (even * total).long().clamp(0, total - 1)
    return steps[torch.randperm(count, generator=rng)]
