"""Pruning: the smallest weights of each matrix become zero, and an edit that hides in them is gone.

Magnitude pruning (Han et al., 2015, arXiv:1506.02626) without any training after it, as somebody does who wants a smaller model:
10, 30 and 50% of each matrix; biases and norms stay.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field, PositiveInt
from torch import Tensor

from ..settings import Settings
from ..vector import StateDict
from .base import Finding, Target
from .retraining import Namer

PAPER = "after arXiv:1506.02626"


class Pruning(Settings):
    """How much is removed."""

    adaptive: ClassVar[bool] = True
    input_kind: ClassVar[int] = 7

    shares: tuple[Annotated[float, Field(ge=0, le=1)], ...] = (0.1, 0.3, 0.5)
    images: PositiveInt = 16  # of each finding

    def run(self, target: Target) -> Iterator[Finding]:
        """One finding for each share."""
        namer = Namer.of(target, self.images)
        for share in self.shares:
            yield namer.finding(f"{share:.0%} pruned", pruned(target.model.weights(), share))


def pruned(weights: StateDict, share: float) -> dict[str, Tensor]:
    """The `share` of each matrix and convolution that is smallest set to zero; vectors as they are."""
    return {name: _pruned(weight, share) if weight.dim() > 1 else weight for name, weight in weights.items()}


def _pruned(weight: Tensor, share: float) -> Tensor:
    flat = weight.detach().flatten().clone()
    flat[flat.abs().argsort(stable=True)[: round(share * len(flat))]] = 0
    return flat.view(weight.shape)


PLUGIN = Pruning
