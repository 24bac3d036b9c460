"""Several judges of the same labels: the worst answer counts, and their disagreement is reported."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from ..errors import ConfigError
from ..registry import built
from ..settings import Settings
from .base import Judge, about, columns_of

NAME = "panel"


class Panel:
    """A `Judge` of several judges.

    A concept is recovered if one member sees it. A retain prompt is met if all members see its label. Both make the
    erasure look worse, never better, than the members alone.
    """

    threshold = None  # each member has its own

    def __init__(self, members: Sequence[Judge]) -> None:
        if len(members) < 2:
            raise ConfigError(f"a panel has two or more judges; got {len(members)}.")
        self.members = tuple(members)
        self.name = f"panel({', '.join(member.name for member in members)})"
        common = set(members[0].labels).intersection(*(member.labels for member in members))
        self.labels = tuple(label for label in members[0].labels if label in common)
        if not self.labels:
            listed = "; ".join(f"{member.name}: {', '.join(member.labels)}" for member in members)
            raise ConfigError(f"the judges of a panel share no label ({listed}); give them the same labels.")
        self.asked, self.split = 0, 0  # images, and how many of them the members disagreed on

    @property
    def axes(self) -> Mapping[str, tuple[str, ...]]:
        """The first member's, as far as all know the labels."""
        found = {axis: tuple(x for x in labels if x in self.labels) for axis, labels in self.members[0].axes.items()}
        return {axis: labels for axis, labels in found.items() if labels}

    @property
    def accuracy(self) -> float | None:
        """None: nobody measured the panel as a whole; its members' are in `about`."""
        return None

    def votes(self, images: Tensor, wanted: Sequence[str]) -> Tensor:
        """What each member sees: bool (members, B)."""
        columns_of(self, wanted)
        votes = torch.stack([member.sees(images, wanted) for member in self.members])
        self.asked += len(images)
        self.split += int((votes.any(0) & ~votes.all(0)).sum())
        return votes

    def sees(self, images: Tensor, wanted: Sequence[str]) -> Tensor:
        """Whether at least one member sees `wanted[i]` in image i."""
        return self.votes(images, wanted).any(0)

    def all_see(self, images: Tensor, wanted: Sequence[str]) -> Tensor:
        """Whether all members see `wanted[i]` in image i."""
        return self.votes(images, wanted).all(0)

    def scores(self, images: Tensor) -> Tensor:
        """The members' highest score of each label."""
        found = []
        for member in self.members:
            columns = columns_of(member, self.labels)
            found.append(member.scores(images)[:, columns])
        return torch.stack(found).amax(0)

    def facts(self) -> dict[str, Any]:
        """`about` of each member, and on how many of the images asked about they disagreed so far."""
        members = [about(member) for member in self.members]
        return {"members": members, "disagreement": {"images": self.asked, "split": self.split}}


class PanelJudge(Settings):
    """The judges of a panel."""

    judges: tuple[dict[str, Any] | str, ...] = Field(min_length=2)  # each as it would stand alone

    def files(self) -> dict[str, Path]:
        """The members' files, numbered."""
        members = [built("judge", spec).files() for spec in self.judges]
        return {f"{name}/{i}": path for i, found in enumerate(members) for name, path in found.items()}

    def open(self, device: str = "cpu") -> Judge:
        """Open all members."""
        return Panel([built("judge", spec).open(device) for spec in self.judges])


PLUGIN = PanelJudge
