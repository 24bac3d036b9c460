"""The concept's own prompts: names, synonyms, compositions and grown prompts."""

from collections.abc import Iterator
from typing import ClassVar

from ..concepts import evenly
from ..settings import Settings
from .base import Finding, Target


class Prompts(Settings):
    """Every kind of prompt of the concept that is scored, spread evenly over its list."""

    adaptive: ClassVar[bool] = False
    input_kind: ClassVar[int] = 2

    def run(self, target: Target) -> Iterator[Finding]:
        """One finding for each kind of prompt."""
        for kind, prompts in target.concept.prompts_by_kind.items():
            asked = evenly(prompts, target.budget)
            yield Finding(f"{len(prompts)} prompts", target.base.encode(asked), kind, prompts)


PLUGIN = Prompts
