"""The one loop that draws: noise in, images out, over a sampler of the model."""

import hashlib
from collections.abc import Iterator
from inspect import signature

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from .models.base import Model, repeated
from .settings import Settings


class Sampling(Settings):
    """How images are drawn."""

    steps: PositiveInt = 7
    guidance: NonNegativeFloat = 3.0  # 0 is without a caption, 1 without guidance
    batch: PositiveInt = 64


def guided(conditional: Tensor, unconditional: Tensor, guidance: float) -> Tensor:
    """uncond + guidance * (cond - uncond) (Ho & Salimans, 2022, arXiv:2207.12598)."""
    return unconditional + guidance * (conditional - unconditional)


@torch.no_grad()
def trajectory(model: Model, cond: Tensor, start: Tensor, settings: Sampling) -> Iterator[Tensor]:
    """Yields the latents after each step, (B, ...); the last are the sample.

    cond: (B, ...); start: standard normal noise (B, ...). A sampler that adds noise at each step draws the noise of a
    row from a generator of this row, seeded by its start.
    """
    sampler = model.sampler(settings.steps)
    noise = {"generator": _generators(start)} if "generator" in signature(sampler.step).parameters else {}
    latents = start * sampler.init_noise_sigma
    null = repeated(model.null, len(cond))
    both = torch.cat([null, cond]) if settings.guidance not in (0.0, 1.0) else None
    for timestep in sampler.timesteps:
        given = sampler.scale_model_input(latents, timestep)
        if both is not None:
            answer = model.denoise(torch.cat([given, given]), timestep.expand(2 * len(cond)), both)
            unconditional, conditional = answer.chunk(2)
            answer = guided(conditional, unconditional, settings.guidance)
        else:
            answer = model.denoise(given, timestep.expand(len(cond)), cond if settings.guidance else null)
        latents = sampler.step(answer, timestep, latents, **noise).prev_sample
        yield latents


def _generators(start: Tensor) -> list[torch.Generator]:
    """One generator for each row; the same row gets the same seed in any batch."""
    digests = (hashlib.sha256(row.numpy().tobytes()).digest() for row in start.cpu().contiguous())
    return [torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1) for digest in digests]


@torch.no_grad()
def draw_latents(model: Model, cond: Tensor, rng: torch.Generator, settings: Sampling) -> Tensor:
    """One latent for each row of `cond` (B, ...), in batches. The noise of row i depends on `rng` and i alone."""
    noise = model.start(len(cond), rng)
    parts = []
    for part, start in zip(torch.split(cond, settings.batch), torch.split(noise, settings.batch), strict=True):
        *_, latents = trajectory(model, part, start, settings)
        parts.append(latents)
    return torch.cat(parts)


@torch.no_grad()
def draw(model: Model, cond: Tensor, rng: torch.Generator, settings: Sampling) -> Tensor:
    """One image for each row of `cond`, (B, 3, H, W) in [-1, 1]."""
    latents = draw_latents(model, cond, rng, settings)
    model.meter.images += len(latents)
    return torch.cat([model.to_images(part) for part in torch.split(latents, settings.batch)])
