"""The input space behind the text encoder: a point is all that the denoiser hears of a prompt, every state of it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.base import Model
from . import cone


@dataclass(frozen=True)
class StateSpace:
    """The text encoder's states of a whole prompt as one long vector (K, T * D): more than any prompt can say."""

    model: Model
    template: str = "a {}"

    def anchor(self, noun: str) -> Tensor:
        """The states of the prompt that names `noun` (T * D,)."""
        return self.model.encode([self.template.format(noun)]).detach().flatten()

    def start(self, anchor: Tensor, low: Tensor, high: Tensor, rng: torch.Generator) -> Tensor:
        """Random points, one for each bin, as long as the anchor (K, T * D)."""
        return cone.scatter(anchor.cpu(), low, high, anchor.norm().item(), rng).to(anchor.device)

    def stretched(self, points: Tensor, factors: Tensor) -> Tensor:
        """As they are: the text encoder ends with a norm, so that its states have one length."""
        return points

    def anywhere(self, count: int, rng: torch.Generator) -> Tensor:
        """None (0, T * D): most states are those of no input at all."""
        return self.model.null.flatten(1)[:0]

    def cond(self, points: Tensor) -> Tensor:
        """The states themselves (K, T, D)."""
        return points.view(len(points), *self.model.null.shape[1:])
