"""Greedy search: group after group returns to the base model, while the retain accuracy rises and recovery stays low.

It goes backward, because the whole edit erases: each group is tested for being needed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, PositiveInt

from ..bounds import Bound
from ..settings import Settings
from ..trial import ModelTrial
from .base import Selection
from .groups import Grain


class Search(Settings):
    """What may go, and how many images that may cost."""

    groups: Grain = "blocks"
    images: PositiveInt = 8  # of each input, anew for each test
    retain_images: PositiveInt = 96  # for each group that could go
    tolerance: float = Field(default=0.02, ge=0, le=1)  # rise of the recovery over the whole edit's that is allowed
    gain: float = Field(default=0.01, ge=0, le=1)  # retain accuracy has to rise by more: the best of several is luck
    removals: PositiveInt = 6  # at most
    tries: PositiveInt = 3  # groups whose recovery is tested for one removal, at most

    def most(self, groups: int, inputs: int) -> int:
        """The images that a search cannot exceed."""
        rounds = min(self.removals, groups - 1)
        weighed = sum(groups - done + 1 for done in range(rounds)) * self.retain_images
        return weighed + (1 + rounds * self.tries) * inputs * self.images


@dataclass(frozen=True)
class Seen:
    """In how many of `images` images of each input its concept was seen."""

    counts: Mapping[str, int]
    images: int

    @property
    def rate(self) -> float:
        """Over all inputs."""
        return sum(self.counts.values()) / (self.images * len(self.counts))

    def as_dict(self) -> dict[str, Any]:
        """For selection.json."""
        worst = max(self.counts, key=lambda name: self.counts[name])
        return {"rate": round(self.rate, 4), "images": self.images * len(self.counts), "counts": dict(self.counts)} | {
            "worst": {"input": worst, "successes": self.counts[worst], "images": self.images}
        }


@dataclass(frozen=True)
class Bench:
    """Selections under trial at one strength, on the inputs that tune."""

    trial: ModelTrial
    alpha: float
    settings: Search

    def retain_accuracy(self, selection: Selection, round_: int) -> Bound:
        """The retain accuracy; the same noise for all selections of a round, so that they compare."""
        return self._trial(selection, f"{round_}").retain_accuracy(self.alpha, self.settings.retain_images)

    def recovery(self, selection: Selection, round_: int, test: int) -> Seen:
        """The recovery rate, on images that no other test has seen."""
        trial, inputs = self._trial(selection, f"{round_}/{test}"), self.trial.inputs.names["tune"]
        hits = trial.recovery(self.alpha, inputs, self.settings.images)
        return Seen(dict(zip(inputs, hits, strict=True)), self.settings.images)

    def _trial(self, selection: Selection, which: str) -> ModelTrial:
        scale = selection.by_parameter(self.trial.vector.delta)
        return self.trial.selecting(scale, f"{self.trial.purpose}/search/{which}")


def search(trial: ModelTrial, alpha: float, settings: Search) -> Iterator[Selection]:
    """Yields the selection after each round, from the whole edit at `alpha` on; the last one is the answer.

    A round tries every remaining group. It removes the one without which the retain accuracy rises most, if the recovery
    rate stays within the tolerance. The first round that removes nothing is the last.
    """
    bench, selection = Bench(trial, alpha, settings), Selection.everything(trial.vector.delta, settings.groups)
    whole = bench.recovery(selection, 0, 0)
    selection = selection.noting(recovery=whole.as_dict(), removed=None)
    yield selection
    for round_ in range(1, min(settings.removals, len(selection.strengths) - 1) + 1):
        selection = _round(bench, selection, round_, whole.rate + settings.tolerance)
        yield selection
        if selection.decisions[-1]["removed"] is None:
            return


def _round(bench: Bench, selection: Selection, round_: int, limit: float) -> Selection:
    """The selection with a group less, or the same if none can go, and why."""
    before = bench.retain_accuracy(selection, round_)
    retained = {group: bench.retain_accuracy(selection.without(group), round_) for group in selection.edited}
    better = [group for group, kept in retained.items() if kept.rate > before.rate + bench.settings.gain]
    better.sort(key=lambda group: retained[group].rate, reverse=True)
    tests: dict[str, Seen] = {}
    removed = None
    for group in better[: bench.settings.tries]:
        tests[group] = bench.recovery(selection.without(group), round_, len(tests))
        if tests[group].rate <= limit:
            removed = group
            break
    return (selection if removed is None else selection.without(removed)).noting(
        removed=removed,
        recovery_limit=round(limit, 4),
        retain_before=before.as_dict(),
        retain_without={group: kept.as_dict() for group, kept in retained.items()},
        recovery_without={group: seen.as_dict() for group, seen in tests.items()},
    )
