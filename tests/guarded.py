"""What the tests of guards share: noise, draws, and a call of guidance."""

import torch
from torch import Tensor

from tverase.models.base import Model, repeated
from tverase.rng import generator
from tverase.sampling import Sampling, draw_latents

THREE = Sampling(steps=3)


def noise(model: Model, count: int = 2, seed: int = 0) -> Tensor:
    return model.start(count, generator(seed, "tests/guards"))


def drawn(model: Model, cond: Tensor, settings: Sampling = THREE, seed: int = 0) -> Tensor:
    return draw_latents(model, cond, generator(seed, "tests/guards/draw"), settings)


def paired(model: Model, cond: Tensor, time: int) -> tuple[Tensor, Tensor, Tensor]:
    """A call of guidance as `trajectory` makes it."""
    noised = noise(model, len(cond))
    times = torch.full((2 * len(cond),), time)
    return torch.cat([noised, noised]), times, torch.cat([repeated(model.null, len(cond)), cond])
