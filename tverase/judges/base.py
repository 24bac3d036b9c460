"""The contract of judges: images in, which labels they show out.

A judge that gives one score for each label needs no method of its own: see `scored.py`. A classifier whose first choice
counts needs `classes` and `probabilities` only: `FirstChoice` adds the rest.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from ..errors import ConfigError, unknown

NONE = "none"
AXIS = "label"  # of judges with one group of labels


class Judge(Protocol):
    """Says which labels images show. Images are (B, 3, H, W) in [-1, 1] on the CPU, and so are the answers."""

    @property
    def name(self) -> str:
        """Name and version, written into every result: `object-cnn/1`."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Everything that the judge can be asked for, in the order of the columns of `scores`."""
        ...

    @property
    def axes(self) -> Mapping[str, tuple[str, ...]]:
        """Groups of labels that exclude each other; most judges have one, `{"label": labels}`."""
        ...

    @property
    def accuracy(self) -> float | None:
        """Share of right answers on images that trained nothing; None if nobody measured it."""
        ...

    @property
    def threshold(self) -> float | None:
        """The score from which a label is seen; None if the highest score of its axis counts."""
        ...

    def sees(self, images: Tensor, wanted: Sequence[str]) -> Tensor:
        """Whether image i shows label `wanted[i]`: bool (B,)."""
        ...

    def scores(self, images: Tensor) -> Tensor:
        """A score in [0, 1] for each image and label: (B, labels)."""
        ...


class Classifier(Protocol):
    """A network with one softmax; `none` is the last class."""

    @property
    def name(self) -> str:
        """Name and version."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in the order of the columns of `probabilities`."""
        ...

    @property
    def accuracy(self) -> float:
        """Share of unseen renderings that it names rightly, measured when it was trained."""
        ...

    def probabilities(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, classes), rows sum to one."""
        ...


class FirstChoice:
    """Makes a `Judge` of a `Classifier`, by inheritance: its first choice counts."""

    threshold = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes."""
        return cast(Classifier, self).classes

    @property
    def axes(self) -> Mapping[str, tuple[str, ...]]:
        """One axis with all classes."""
        return {AXIS: self.labels}

    def scores(self, images: Tensor) -> Tensor:
        """The probabilities."""
        return cast(Classifier, self).probabilities(images)

    def sees(self, images: Tensor, wanted: Sequence[str]) -> Tensor:
        """Whether the first choice for image i is `wanted[i]`."""
        judge = cast(Classifier, self)
        columns = columns_of(as_judge(judge), wanted)
        return verdicts(judge, images) == columns


class Chooser(FirstChoice):
    """A `Judge` around a `Classifier` that does not inherit from `FirstChoice`."""

    def __init__(self, judge: Classifier) -> None:
        self.judge = judge
        self.name, self.classes, self.accuracy = judge.name, judge.classes, judge.accuracy

    def probabilities(self, images: Tensor) -> Tensor:
        """The classifier's."""
        return self.judge.probabilities(images)


def as_judge(judge: Judge | Classifier) -> Judge:
    """The judge itself, or the first choice of a classifier."""
    return cast(Judge, judge) if hasattr(judge, "sees") else Chooser(judge)


class _Labelled(Protocol):
    """What a message about an unknown label needs; every `Judge` has it."""

    @property
    def name(self) -> str: ...

    @property
    def labels(self) -> tuple[str, ...]: ...


def columns_of(judge: _Labelled, wanted: Sequence[str]) -> Tensor:
    """The columns of labels in `scores`; a `ConfigError` lists the labels if the judge does not know one."""
    columns = {label: column for column, label in enumerate(judge.labels)}
    if odd := sorted(set(wanted) - set(columns)):
        raise ConfigError(f"{judge.name}: {unknown('label', odd[0], judge.labels)}.")
    return torch.tensor([columns[label] for label in wanted], dtype=torch.long)


def require_labels(judge: Judge | Classifier, labels: Sequence[str]) -> None:
    """Refuse labels that the judge does not know, before anything is drawn."""
    columns_of(as_judge(judge), labels)


def shows(judge: Judge | Classifier, images: Tensor, label: str) -> Tensor:
    """Whether each image shows `label`: bool (B,). Of a panel, one member that sees it is enough."""
    return as_judge(judge).sees(images, [label] * len(images))


def met(judge: Judge | Classifier, images: Tensor, wanted: Sequence[Sequence[str] | str | None]) -> Tensor:
    """Whether image i shows all labels `wanted[i]`, one or several; nothing wanted is always met: bool (B,).

    Of a panel, all members have to see them.
    """
    asked = [() if labels is None else (labels,) if isinstance(labels, str) else labels for labels in wanted]
    rows = [row for row, labels in enumerate(asked) for _ in labels]
    answer = torch.ones(len(asked), dtype=torch.bool)
    if rows:
        seen = surely(as_judge(judge), images[rows], [label for labels in asked for label in labels])
        answer[torch.tensor(rows)[~seen]] = False
    return answer


def surely(judge: Judge, images: Tensor, wanted: Sequence[str]) -> Tensor:
    """`judge.all_see` of a judge that has several opinions, `judge.sees` of all others."""
    answer: Tensor = getattr(judge, "all_see", judge.sees)(images, wanted)
    return answer


def verdicts(judge: Classifier, images: Tensor) -> Tensor:
    """The classifier's first choice for each image, as an index into its classes (B,)."""
    return judge.probabilities(images).argmax(1)


def about(judge: Judge | Classifier) -> dict[str, Any]:
    """Name, accuracy and threshold as JSON facts, written into every result; of a composite judge, its members' too."""
    judge = as_judge(judge)
    facts: dict[str, Any] = {"name": judge.name, "accuracy": judge.accuracy, "threshold": judge.threshold}
    return facts | getattr(judge, "facts", dict)()
