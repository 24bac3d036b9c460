"""The one place where `select.how` decides."""

from collections.abc import Callable
from typing import Literal

from pydantic import PositiveFloat, model_validator

from ..progress import Progress, Tell, silent
from ..settings import Settings
from ..trial import ModelTrial
from ..vector import TaskVector
from .base import Selection
from .blocks import Layers, blocks
from .search import Search, search


class Select(Settings):
    """Which weights are edited."""

    how: Literal["all", "blocks", "search"] = "all"
    layers: Layers | None = None  # of `blocks`; "down" is near the paper's "first three blocks"
    alpha: PositiveFloat = 2.0  # strength of the edit that `search` looks at
    search: Search = Search()

    @model_validator(mode="after")
    def _layers_are_of_blocks(self) -> "Select":
        if self.how == "blocks" and self.layers is None:
            raise ValueError("select.how=blocks needs select.layers, for example select.layers=down")
        if self.how != "blocks" and self.layers is not None:
            raise ValueError(f"select.layers={self.layers} is of select.how=blocks, and select.how is {self.how}")
        return self


def select(vector: TaskVector, settings: Select, trial: Callable[[], ModelTrial], tell: Tell = silent) -> Selection:
    """The selection that the settings ask for. trial: is called by a search only, which accepts no strength and scores nothing."""
    if settings.how == "all":
        return Selection.everything(vector.delta, "blocks")
    if settings.layers is not None:
        return blocks(vector.delta, settings.layers)
    return _searched(trial(), settings, tell)


def _searched(trial: ModelTrial, settings: Select, tell: Tell) -> Selection:
    for done, selection in enumerate(search(trial, settings.alpha, settings.search)):
        total = min(settings.search.removals, len(selection.strengths) - 1)
        note = "without " + (", ".join(sorted(selection.strengths.keys() - set(selection.edited))) or "none")
        tell(Progress("searching groups to leave alone", done, total, note))
    return selection
