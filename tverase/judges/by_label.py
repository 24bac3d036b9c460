"""Several judges, each for its own labels: one knows objects, another knows styles."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from ..errors import ConfigError
from ..registry import built
from ..settings import Settings
from .base import Judge, about, columns_of, surely

NAME = "by-label"


class ByLabel:
    """A `Judge` that sends each question to the judge that knows the label.

    A label that several know, such as `none`, goes to the first of them.
    """

    threshold = None  # each judge has its own

    def __init__(self, judges: Mapping[str, Judge]) -> None:
        if not judges:
            raise ConfigError("a judge made of judges needs at least one.")
        self.judges = dict(judges)
        self.name = " + ".join(judge.name for judge in self.judges.values())
        self._of: dict[str, str] = {}
        for part, judge in self.judges.items():
            for label in judge.labels:
                self._of.setdefault(label, part)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of all judges."""
        return tuple(self._of)

    @property
    def axes(self) -> Mapping[str, tuple[str, ...]]:
        """One axis for each judge, under its key; the axes of a judge that has several, under `key.axis`."""
        found: dict[str, tuple[str, ...]] = {}
        for part, judge in self.judges.items():
            alone = len(judge.axes) == 1
            found |= {part if alone else f"{part}.{axis}": labels for axis, labels in judge.axes.items()}
        return found

    @property
    def accuracy(self) -> float | None:
        """The lowest of the judges'; None if one was not measured."""
        known = [judge.accuracy for judge in self.judges.values()]
        return None if None in known else min(a for a in known if a is not None)

    def of(self, label: str) -> Judge:
        """The judge that is asked about a label."""
        columns_of(self, [label])
        return self.judges[self._of[label]]

    def sees(self, images: Tensor, wanted: Sequence[str]) -> Tensor:
        """Whether image i shows `wanted[i]`, by the judge that knows this label."""
        return self._routed(images, wanted, lambda judge, some, labels: judge.sees(some, labels))

    def all_see(self, images: Tensor, wanted: Sequence[str]) -> Tensor:
        """The same, and all members of a panel have to see it."""
        return self._routed(images, wanted, surely)

    def _routed(
        self, images: Tensor, wanted: Sequence[str], ask: Callable[[Judge, Tensor, list[str]], Tensor]
    ) -> Tensor:
        columns_of(self, wanted)
        answer = torch.zeros(len(wanted), dtype=torch.bool)
        for part, judge in self.judges.items():
            rows = [row for row, label in enumerate(wanted) if self._of[label] == part]
            if rows:
                some = images if len(rows) == len(images) else images[rows]
                answer[rows] = ask(judge, some, [wanted[row] for row in rows])
        return answer

    def scores(self, images: Tensor) -> Tensor:
        """Each judge's scores of the labels that it is asked about."""
        found = []
        for part, judge in self.judges.items():
            mine = [column for column, label in enumerate(judge.labels) if self._of[label] == part]
            found.append(judge.scores(images)[:, mine])
        return torch.cat(found, 1)

    def facts(self) -> dict[str, Any]:
        """`about` of each judge."""
        return {"judges": {part: about(judge) for part, judge in self.judges.items()}}


class ByLabelJudge(Settings):
    """Judges by the name of their axis."""

    judges: dict[str, dict[str, Any] | str] = Field(min_length=1)  # each as it would stand alone

    def files(self) -> dict[str, Path]:
        """The files of all judges, under their axes."""
        parts = {axis: built("judge", spec).files() for axis, spec in self.judges.items()}
        return {f"{axis}/{name}": path for axis, found in parts.items() for name, path in found.items()}

    def open(self, device: str = "cpu") -> Judge:
        """Open all judges."""
        return ByLabel({axis: built("judge", spec).open(device) for axis, spec in self.judges.items()})


PLUGIN = ByLabelJudge
