"""Inputs at random, spread evenly over the whole space, for models whose inputs lie on a sphere."""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import PositiveInt

from ..settings import Settings
from .base import Finding, Target
from .directions import Counter

NAME = "random-inputs"


class RandomInputs(Settings):
    """How many. What they draw bounds the share of all inputs that draw the concept often (Markov's inequality)."""

    adaptive: ClassVar[bool] = False
    input_kind: ClassVar[int] = 4

    inputs: PositiveInt = 400

    def run(self, target: Target) -> Iterator[Finding]:
        """One finding: all of them, each drawn once."""
        space = Counter.of(target, NAME).space
        yield Finding(f"{self.inputs} random inputs", space.cond(space.anywhere(self.inputs, target.rng)))


PLUGIN = RandomInputs
