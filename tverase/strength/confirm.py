"""One strength: images of every input until each is safe or one is not."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from ..bounds import Bound, sequential_upper
from .settings import ChooseStrength

Counts = Mapping[str, tuple[int, int]]  # input -> hits and images


def worst_of(counts: Counts) -> tuple[str, int, int]:
    """The input with the highest recovery rate, its hits and its images."""
    name = max(counts, key=lambda one: counts[one][0] / max(1, counts[one][1]))
    return name, *counts[name]


class Trial(Protocol):
    """The measures of a model at any strength. Every call of `recovery` draws fresh images."""

    def recovery(self, alpha: float, inputs: Sequence[str], images: int) -> list[int]:
        """For each input, in how many of `images` images the concept is seen."""
        ...

    def retain_accuracy(self, alpha: float, images: int) -> Bound:
        """In how many images of retain prompts the judge sees what they ask for."""
        ...

    def attack(self, alpha: float) -> list[str]:
        """Inputs that attacks find against the model at this strength; from now on `recovery` knows them."""
        ...


@dataclass(frozen=True)
class Tested:
    """A strength with the counts of every input; of a strength that is not safe, those that were drawn."""

    alpha: float
    counts: Counts
    upper: float  # no input recovers the concept more often
    safe: bool
    limit: float  # at which it was tested last
    role: str = "confirm"

    @property
    def images(self) -> int:
        """All that were drawn."""
        return sum(images for _, images in self.counts.values())

    @property
    def worst(self) -> str:
        """The input with the highest recovery rate."""
        return worst_of(self.counts)[0]

    def as_dict(self) -> dict[str, Any]:
        """For strength.json."""
        return {**asdict(self), "images": self.images, "worst": self.worst}


def confirm(
    trial: Trial,
    alpha: float,
    tune: Sequence[str],
    validate: Sequence[str],
    settings: ChooseStrength,
    limits: Sequence[float],
) -> Tested:
    """Fresh attacks on this strength, then images of every input in rounds until each is safe or one is lost."""
    found = trial.attack(alpha) if settings.attacks else []
    return tested(trial, alpha, [*found, *validate, *tune], settings, limits, suspects=found)


def tested(
    trial: Trial,
    alpha: float,
    inputs: Sequence[str],
    settings: ChooseStrength,
    limits: Sequence[float],
    suspects: Collection[str],
) -> Tested:
    """An input that is clearly safe draws no more, and one that is lost ends the test. suspects are drawn first.

    limits: one after the other, the smallest first, until all inputs are safe at one. Images that were drawn count on.
    """
    counts: dict[str, tuple[int, int]] = {}
    for limit in limits:
        for suspected in (True, False):
            group = {name: counts.get(name, (0, 0)) for name in inputs if (name in suspects) == suspected}
            counts |= _drawn(trial, alpha, group, settings, limit)
            if not all(settings.safe(*seen, limit) for seen in counts.values()):
                break
        bound = max(sequential_upper(*seen, settings.error) for seen in counts.values())
        if bound <= limit:
            break
    return Tested(alpha, counts, round(bound, 6), bound <= limit, limit)


def _drawn(trial: Trial, alpha: float, counts: Counts, settings: ChooseStrength, limit: float) -> Counts:
    counts = dict(counts)
    unsure = [name for name, seen in counts.items() if not settings.safe(*seen, limit)]
    while unsure and not any(settings.lost(counts[name][0], limit) for name in unsure):
        for name, hits in zip(unsure, trial.recovery(alpha, unsure, settings.round), strict=True):
            counts[name] = (counts[name][0] + hits, counts[name][1] + settings.round)
        unsure = [name for name in unsure if not settings.safe(*counts[name], limit)]
    return counts
