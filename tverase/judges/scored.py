"""Judges that give one score for each label: what CLIP, image classifiers, detectors and callables have in common."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from ..errors import ConfigError
from ..settings import Settings
from .base import AXIS, columns_of

Share = Annotated[float, Field(ge=0, le=1)]
Labels = tuple[str, ...] | dict[str, tuple[str, ...]]  # one group of labels, or several by name


class ScoredSettings(Settings):
    """What all judges with scores can be told."""

    threshold: Share | None = None  # the score from which a label is seen; none: the highest of its axis
    accuracy: Share | None = None  # measured by you, on images that trained nothing
    batch: PositiveInt = 64  # images in one forward pass


@dataclass(frozen=True)
class Scored:
    """A `Judge` of scores: the highest of an axis counts, or all that reach the threshold."""

    name: str
    axes: Mapping[str, tuple[str, ...]]
    score: Callable[[Tensor], Tensor]  # images -> (B, labels), without the column of `rest`
    accuracy: float | None = None
    threshold: float | None = None
    batch: int = 64
    rest: str | None = None  # a last label: what an image shows if no other label reaches the threshold

    def __post_init__(self) -> None:
        require_axes(self.name, self.axes, self.threshold)
        if self.rest is not None and (self.threshold is None or self.labels[-1] != self.rest or len(self.axes) > 1):
            raise ConfigError(
                f"{self.name}: the label {self.rest!r} for all other images needs a threshold and one axis."
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of all axes, in order, and `rest`."""
        return tuple(label for labels in self.axes.values() for label in labels)

    @torch.no_grad()
    def scores(self, images: Tensor) -> Tensor:
        """The scores, batch by batch; that of `rest` is one minus the highest other score."""
        width = len(self.labels) - (self.rest is not None)
        found = [self.score(part).float().cpu() for part in torch.split(images, self.batch)] if len(images) else []
        answer = torch.cat(found) if found else torch.zeros(0, width)
        if answer.shape != (len(images), width):
            raise ConfigError(
                f"{self.name} gave scores of shape {tuple(answer.shape)} for {len(images)} images and {width} labels; "
                f"expected {(len(images), width)}."
            )
        if not bool((torch.isfinite(answer) & (answer >= 0) & (answer <= 1)).all()):
            raise ConfigError(f"{self.name} gave a score of {_worst(answer):g}; expected scores from 0 to 1.")
        return answer if self.rest is None else torch.cat([answer, 1 - answer.amax(1, keepdim=True)], 1)

    def sees(self, images: Tensor, wanted: Sequence[str]) -> Tensor:
        """Whether image i shows `wanted[i]`."""
        columns = columns_of(self, wanted)
        seen = self.seen(self.scores(images))
        return seen[torch.arange(len(columns)), columns]

    def seen(self, scores: Tensor) -> Tensor:
        """Which labels count as seen: bool (B, labels)."""
        if self.threshold is None:
            return torch.cat([_first(part) for part in self._by_axis(scores)], 1)
        seen = scores >= self.threshold
        if self.rest is not None:
            seen[:, -1] = ~seen[:, :-1].any(1)
        return seen

    def _by_axis(self, scores: Tensor) -> tuple[Tensor, ...]:
        return torch.split(scores, [len(labels) for labels in self.axes.values()], 1)


def _first(scores: Tensor) -> Tensor:
    first: Tensor = torch.nn.functional.one_hot(scores.argmax(1), scores.shape[1]).bool()
    return first


def _worst(scores: Tensor) -> float:
    """A score that is not from 0 to 1."""
    odd = scores[~((scores >= 0) & (scores <= 1))]
    return float(odd.flatten()[0])


def require_axes(name: str, axes: Mapping[str, tuple[str, ...]], threshold: float | None) -> None:
    """Refuse labels that are empty or given twice, and an axis whose only label every image would show."""
    everything = [label for labels in axes.values() for label in labels]
    if twice := sorted({label for label in everything if everything.count(label) > 1}):
        raise ConfigError(f"{name}: the label {twice[0]!r} is given twice; each label is given once.")
    if not everything or not all(label.strip() for label in everything):
        raise ConfigError(f"{name}: expected at least one label, none of them empty; got {everything}.")
    few = [axis for axis, labels in axes.items() if len(labels) < 2]
    if few and threshold is None:
        raise ConfigError(
            f"{name}: {few[0]!r} has one label, which every image would show; give a second one or a threshold."
        )


def axes_of(labels: Labels) -> dict[str, tuple[str, ...]]:
    """The axes that a YAML's `labels` mean: a list is one axis, a mapping several."""
    return dict(labels) if isinstance(labels, dict) else {AXIS: labels}
