"""Attacks on models whose inputs are directions: what an input draws is counted, so that many can be tried."""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from ..errors import ConfigError
from ..inversion.run import words_of
from ..judges.base import Judge, columns_of, shows
from ..models.base import Model
from ..rng import generator
from ..sampling import Sampling, draw
from .base import Finding, Target


@dataclass(frozen=True)
class Counter:
    """Draws inputs (K, d) with a model and counts the images that show the concept. Every purpose has its own noise."""

    model: Model
    space: Any  # a `Sphere`, or whatever has its `grid`, `near` and `anywhere`
    judge: Judge
    label: str
    sampling: Sampling
    seed: int

    @classmethod
    def of(cls, target: Target, name: str) -> Self:
        """What the attack called `name` counts with; a `ConfigError` if the target does not allow it."""
        space = words_of(target.base, target.concept, target.how)
        if not (hasattr(space, "grid") and hasattr(space, "near")):
            raise ConfigError(
                f"the attack {name} tries directions of a sphere, and the inputs of this model lie on none; leave it out, or "
                "choose another of `tverase list attacks`."
            )
        if target.judge is None or target.sampling is None:
            raise ConfigError(f"the attack {name} counts what it sees; give its target a judge and how to sample.")
        seed = int(torch.randint(2**40, (), generator=target.rng))
        return cls(target.model, space, target.judge, target.concept.label, target.sampling, seed)

    def count(self, points: Tensor, images: int, purpose: str) -> Tensor:
        """In how many of `images` images of each input (K, d) the concept is seen, (K,)."""
        return shows(self.judge, self._drawn(points, images, purpose), self.label).view(len(points), images).sum(1)

    def likeness(self, points: Tensor, images: int, purpose: str) -> Tensor:
        """The judge's mean score of the concept for each input (K, d): finer than a count of few images, (K,)."""
        scores = self.judge.scores(self._drawn(points, images, purpose))
        return scores[:, columns_of(self.judge, [self.label])[0]].view(len(points), images).mean(1)

    def _drawn(self, points: Tensor, images: int, purpose: str) -> Tensor:
        cond = self.space.cond(points).repeat_interleave(images, 0)
        return draw(self.model, cond, generator(self.seed, purpose), self.sampling)

    def finding(self, point: Tensor, name: str, kind: str = "") -> Finding:
        """An input (d,) as a finding."""
        return Finding(name, self.space.cond(point[None]).detach(), kind, point=point.detach())
