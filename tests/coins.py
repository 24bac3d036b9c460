"""Trials whose true curves are known: coins in place of images."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tverase.bounds import Bound

Curve = Callable[[float], float]


def falling(middle: float, width: float = 0.1) -> Curve:
    """Recovery that falls from one to zero around `middle`."""
    return lambda alpha: 1 / (1 + math.exp(min(50.0, (alpha - middle) / width)))


def always(rate: float) -> Curve:
    return lambda _: rate


@dataclass
class KnownTrial:
    """A `Trial` that flips coins: one curve for each input, one for the retain set; it counts its own images."""

    curves: dict[str, Curve]
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    kept: Curve = lambda _: 0.95
    drawn: int = 0
    alphas: list[float] = field(default_factory=list)

    def recovery(self, alpha: float, inputs: Sequence[str], images: int) -> list[int]:
        self.drawn += len(inputs) * images
        self.alphas.append(alpha)
        return [int(self.rng.binomial(images, self.curves[name](alpha))) for name in inputs]

    def attack(self, alpha: float) -> list[str]:
        return []

    def retain_accuracy(self, alpha: float, images: int) -> Bound:
        self.drawn += images
        return Bound(int(self.rng.binomial(images, self.kept(alpha))), images)


@dataclass
class Scripted(KnownTrial):
    """The same without chance: each input has its rate in every round, rounded."""

    def recovery(self, alpha: float, inputs: Sequence[str], images: int) -> list[int]:
        super().recovery(alpha, inputs, images)
        return [round(images * self.curves[name](alpha)) for name in inputs]
