"""The empty prompt: how often the model draws the concept by itself.

After TINA's null text (2026, arXiv:2603.17828). There is nothing to search, so the budget is the number of images. The base
model draws each of its objects as often as its training set did: the positive control is low by nature.
"""

from collections.abc import Iterator
from typing import ClassVar

from ..settings import Settings
from .base import Finding, Target

PAPER = "after arXiv:2603.17828"


class EmptyPrompt(Settings):
    """No setting: the empty prompt is one input."""

    adaptive: ClassVar[bool] = True
    input_kind: ClassVar[int] = 6

    def run(self, target: Target) -> Iterator[Finding]:
        """One finding, the conditioning of the empty prompt."""
        yield Finding("the empty prompt", target.model.null)


PLUGIN = EmptyPrompt
