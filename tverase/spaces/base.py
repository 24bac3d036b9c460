"""What a space of inputs is to inversion: where a concept's own input lies, where to start, what a point means."""

from typing import Protocol

import torch
from torch import Tensor


class InputSpace(Protocol):
    """Points (K, E) that a search moves, and the conditionings that they stand for; E is the space's own dimension."""

    def anchor(self, noun: str) -> Tensor:
        """The concept's own point (E,)."""
        ...

    def start(self, anchor: Tensor, low: Tensor, high: Tensor, rng: torch.Generator) -> Tensor:
        """Random points, one for each range of the cosine to `anchor` (K, E)."""
        ...

    def stretched(self, points: Tensor, factors: Tensor) -> Tensor:
        """The points at `factors` (K, 1) times their length, where length means something; elsewhere as they are (K, E)."""
        ...

    def anywhere(self, count: int, rng: torch.Generator) -> Tensor:
        """Points spread evenly over the whole space (count, E); none (0, E), and no random number, if it has no end."""
        ...

    def cond(self, points: Tensor) -> Tensor:
        """What the model gets for each point (K, ...), differentiable."""
        ...
