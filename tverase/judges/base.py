"""What a judge is: images in, the probability of each class out, "none of these" among them."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

NONE = "none"


class Judge(Protocol):
    """Looks at images and answers with probabilities; the last class is `none`."""

    @property
    def name(self) -> str:
        """Name and version, as written beside every figure that it gave: `object-cnn/1`."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in the order of the columns of `probabilities`; `none` is the last."""
        ...

    @property
    def accuracy(self) -> float:
        """Share of unseen renderings that it names rightly, measured when it was trained."""
        ...

    def probabilities(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, classes), rows sum to one."""
        ...


def shows(judge: Judge, images: Tensor, name: str) -> Tensor:
    """Whether each image shows `name`, that is, whether it is the judge's first choice: bool (B,)."""
    return judge.probabilities(images).argmax(1) == judge.classes.index(name)


def verdicts(judge: Judge, images: Tensor) -> Tensor:
    """The judge's first choice for each image, as an index into its classes (B,)."""
    return judge.probabilities(images).argmax(1)


def met(judge: Judge, images: Tensor, wanted: Sequence[str | None]) -> Tensor:
    """Whether each image shows what is wanted of it; nothing wanted is always met: bool (B,)."""
    asked = torch.tensor([w is not None for w in wanted])
    if not asked.any():
        return ~asked
    classes = torch.tensor([judge.classes.index(w) if w is not None else 0 for w in wanted])
    return ~asked | (verdicts(judge, images) == classes)
