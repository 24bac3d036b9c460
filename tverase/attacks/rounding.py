"""Rounding: weights of few bits can round a small edit away.

FailureLLMUnlearning (2024, arXiv:2410.16454) finds what was unlearned again in 4-bit language models. Here: 8 and 4 bits, to the
nearest of evenly spaced values, symmetric, with one scale for each output channel; biases and norms keep their precision.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field, PositiveInt
from torch import Tensor

from ..settings import Settings
from ..vector import StateDict
from .base import Finding, Target
from .retraining import Namer

PAPER = "arXiv:2410.16454"


class Rounding(Settings):
    """How few bits."""

    adaptive: ClassVar[bool] = True
    input_kind: ClassVar[int] = 7

    bits: tuple[Annotated[int, Field(ge=2, le=32)], ...] = (8, 4)
    images: PositiveInt = 16  # of each finding

    def run(self, target: Target) -> Iterator[Finding]:
        """One finding for each number of bits."""
        namer = Namer.of(target, self.images)
        for bits in self.bits:
            yield namer.finding(f"{bits} bits", rounded(target.model.weights(), bits))


def rounded(weights: StateDict, bits: int) -> dict[str, Tensor]:
    """Every matrix and convolution at `bits` bits a weight; vectors as they are."""
    return {name: _rounded(weight, bits) if weight.dim() > 1 else weight for name, weight in weights.items()}


def _rounded(weight: Tensor, bits: int) -> Tensor:
    rows = weight.detach().double().flatten(1)
    step = rows.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    values: Tensor = (rows / step.clamp(min=1e-300)).round() * step
    return values.view(weight.shape).to(weight.dtype)


PLUGIN = Rounding
