"""The one place where `select.how` decides."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import PositiveFloat, model_validator

from ..progress import Progress, Tell, silent
from ..settings import Settings
from ..trial import ModelTrial
from ..vector import TaskVector
from .base import Selection
from .blocks import Layers, blocks
from .profile import Examples, Profile, profile
from .search import Search, search


class Select(Settings):
    """Which weights are edited."""

    how: Literal["all", "blocks", "search", "profile"] = "all"
    layers: Layers | None = None  # of `blocks`; "down" is near the paper's "first three blocks"
    alpha: PositiveFloat = 2.0  # strength of the edit that `search` and `profile` look at
    search: Search = Search()
    profile: Profile = Profile()

    @model_validator(mode="after")
    def _layers_are_of_blocks(self) -> "Select":
        if self.how == "blocks" and self.layers is None:
            raise ValueError("select.how=blocks needs select.layers, for example select.layers=down")
        if self.how != "blocks" and self.layers is not None:
            raise ValueError(f"select.layers={self.layers} is of select.how=blocks, and select.how is {self.how}")
        return self


@dataclass(frozen=True)
class Material:
    """What `search` and `profile` may look at; nothing of it accepts a strength or scores."""

    trial: ModelTrial
    examples: Examples


def select(
    vector: TaskVector, settings: Select, material: Callable[[], Material], seed: int, tell: Tell = silent
) -> Selection:
    """The selection that the settings ask for. material: is called only where it is needed."""
    if settings.how == "all":
        return Selection.everything(vector.delta, "blocks")
    if settings.layers is not None:
        return blocks(vector.delta, settings.layers)
    found = material()
    if settings.how == "search":
        return _searched(found.trial, settings, tell)
    return _fitted(vector, found, settings, seed, tell)


def _searched(trial: ModelTrial, settings: Select, tell: Tell) -> Selection:
    for done, selection in enumerate(search(trial, settings.alpha, settings.search)):
        total = min(settings.search.removals, len(selection.strengths) - 1)
        note = "without " + (", ".join(sorted(selection.strengths.keys() - set(selection.edited))) or "none")
        tell(Progress("searching groups to leave alone", done, total, note))
    return selection


def _fitted(vector: TaskVector, found: Material, settings: Select, seed: int, tell: Tell) -> Selection:
    how = settings.profile
    for selection in profile(found.trial.model, vector, found.examples, settings.alpha, how, seed):
        last = selection.decisions[-1]
        note = f"push short by {last['short']:.2f}, harm {last['harm']:.2f} of the whole edit's"
        tell(Progress("fitting a strength for each group", last["step"], how.steps, note))
    return selection
