"""Embeddings of Diverse Inversion that tuned nothing and draw the concept in the base model."""

from collections.abc import Iterator
from typing import ClassVar

from ..inversion.run import space_of
from ..settings import Settings
from .base import Finding, Target

NAME = "di-embeddings"
KIND = "inversion"  # of its rows, whatever the label: the verdict asks for them
PAPER = "Pham et al., 2024, arXiv:2404.03631"


class Embeddings(Settings):
    """The held-out set of the inversion step, as it is."""

    adaptive: ClassVar[bool] = False
    input_kind: ClassVar[int] = 4

    def run(self, target: Target) -> Iterator[Finding]:
        """One finding for each accepted embedding of the concept."""
        if target.found is None:
            return
        mine = target.found.accepted(target.concept.name)
        space = space_of(target.base, target.concept, target.how)
        for item, point in zip(mine.found, mine.points.to(target.base.null.device), strict=True):
            yield Finding(item.name, space.cond(point[None]).detach(), KIND, point=point)


PLUGIN = Embeddings
