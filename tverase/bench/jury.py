"""Two judges of different make, who have to agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from ..errors import ConfigError, ModelError
from ..judges.base import Judge, about, as_judge
from ..registry import built, entries

Spec = Mapping[str, Any] | str
# The second judge of a built-in first one, where nobody names another: it shares no weights with the first.
OTHER_MAKE = {"embedded": "probe"}


def kind_of(spec: Spec) -> str:
    """The kind of a judge's settings."""
    return spec.partition(":")[0] if isinstance(spec, str) else str(spec["kind"])


def members(judge: Spec, second: Spec | None = None) -> tuple[Spec, ...]:
    """The settings of the two judges of a concept's judge, or of the one that there is.

    second: given by hand. Otherwise the second member of a panel, or the judge of another make that belongs to the first.
    """
    if second is not None:
        return judge, second
    if kind_of(judge) == "panel" and not isinstance(judge, str):
        return tuple(judge["judges"])[:2]
    other = OTHER_MAKE.get(kind_of(judge))
    return (judge, other) if other in entries("judge") and _opens(other) else (judge,)


def _opens(spec: str) -> bool:
    """Whether a judge can be opened here: its extra is installed and its files are there."""
    try:
        return all(path.exists() for path in built("judge", spec).files().values())
    except (ConfigError, ModelError):
        return False


@dataclass(frozen=True)
class Jury:
    """One or two judges. An image counts if all of them see the concept."""

    judges: tuple[Judge, ...]

    @classmethod
    def open(cls, specs: Sequence[Spec], device: str = "cpu") -> Self:
        """Open the judges."""
        return cls(tuple(as_judge(built("judge", spec).open(device)) for spec in specs))

    @property
    def first(self) -> Judge:
        """The judge that an attack may ask and that tunes strengths; the second one only scores."""
        return self.judges[0]

    def votes(self, images: Tensor, label: str) -> Tensor:
        """What each judge sees: bool (judges, B)."""
        return torch.stack([judge.sees(images, [label] * len(images)) for judge in self.judges])

    def about(self) -> list[dict[str, Any]]:
        """Name, accuracy and threshold of each."""
        return [about(judge) for judge in self.judges]
