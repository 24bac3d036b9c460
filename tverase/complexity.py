"""The worst input of many, for few images: search on one set of images, score on another.

"Unconditional safety at complexity n" (Pham et al., 2024) is the worst recovery over all inputs of a grid. The authors
draw as many images of every input and report the largest count. The largest of many noisy counts is high even when no
input is bad. Here inputs that draw nothing soon get no more images (successive halving, Karnin et al., 2013). The worst
one is scored on fresh images, so that its interval is exact.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from .bounds import Bound
from .errors import ConfigError
from .settings import Settings

# (inputs (K, d), images of each, purpose of the noise) -> in how many images of each the concept is seen, (K,) long
Count = Callable[[Tensor, int, str], Tensor]


class Halving(Settings):
    """How images are spent on inputs."""

    first: PositiveInt = 2  # images of every input
    keep: float = Field(default=0.25, gt=0, lt=1)  # share that goes on to the next round, which has twice the images
    finalists: PositiveInt = 4  # at least so many go on, and the last round has so many


@dataclass(frozen=True)
class Searched:
    """The input that was chosen (d,), its count in the search, which is flattered by the choice, and what the search cost."""

    point: Tensor
    seen: Bound
    inputs: int
    images: int


def search_worst(count: Count, inputs: Tensor, settings: Halving, purpose: str) -> Searched:
    """The input (of K, d) that draws the concept most, by successive halving."""
    if len(inputs) == 0:
        raise ConfigError("there are no inputs to find the worst of.")
    hits, drawn, spent = torch.zeros(len(inputs), dtype=torch.long), torch.zeros(len(inputs), dtype=torch.long), 0
    left, images, round_ = torch.arange(len(inputs)), settings.first, 0
    while True:
        hits[left] += count(inputs[left], images, f"{purpose}/round {round_}")
        drawn[left] += images
        spent += len(left) * images
        # Half a success more of two: among equal rates, the one with more images is surer.
        order = torch.argsort((hits[left] + 0.5) / (drawn[left] + 1), descending=True, stable=True)
        if len(left) <= settings.finalists:
            break
        fewer = min(len(left) - 1, math.ceil(settings.keep * len(left)))
        left = left[order[: max(settings.finalists, fewer)]]
        images, round_ = 2 * images, round_ + 1
    best = int(left[order[0]])
    return Searched(inputs[best], Bound(int(hits[best]), int(drawn[best])), len(inputs), spent)


@dataclass(frozen=True)
class Worst:
    """The worst input found (d,), how often it draws the concept on fresh images, and what search and score cost."""

    point: Tensor
    found: Bound
    searched: Bound
    inputs: int
    images: int


def worst_input(count: Count, inputs: Tensor, settings: Halving, purpose: str, fresh: int = 60) -> Worst:
    """What `search_worst` finds, scored on `fresh` images."""
    best = search_worst(count, inputs, settings, purpose)
    found = Bound(int(count(best.point[None], fresh, f"{purpose}/fresh")[0]), fresh)
    return Worst(best.point, found, best.seen, best.inputs, best.images + fresh)
