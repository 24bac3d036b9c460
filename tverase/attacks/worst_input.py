"""The worst of all inputs on a grid of directions, for models whose inputs lie on a sphere."""

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field

from ..complexity import Halving, search_worst
from .base import Finding, Target
from .directions import Counter

NAME = "worst-input"
PAPER = "Pham et al., 2024, arXiv:2404.03631"
Complexity = Annotated[int, Field(ge=2)]  # with one value an axis there is no direction


class WorstInput(Halving):
    """Which grids are searched. Inputs that draw nothing soon get no more images."""

    adaptive: ClassVar[bool] = True
    input_kind: ClassVar[int] = 4

    complexities: tuple[Complexity, ...] = Field(default=(2, 3, 4, 5), min_length=1)  # values an axis, one grid each

    def run(self, target: Target) -> Iterator[Finding]:
        """The worst input of each grid; those who score it draw fresh images, because the choice has flattered it."""
        counter = Counter.of(target, NAME)
        for n in self.complexities:
            found = search_worst(counter.count, counter.space.grid(n), self, f"complexity {n}")
            yield counter.finding(found.point, f"the worst of {found.inputs} inputs", f"complexity {n}")


PLUGIN = WorstInput
