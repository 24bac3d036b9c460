"""What the report of the digit experiment is made of, and how it calls things."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..digitrun import TASK_VECTORS

NAMES = {
    "base": "base model",
    "resteer": "label re-steered",
    "esd": "ESD on the label",
    "random": "task vector, random labels",
    "repaired": "task vector, repaired",
    "true": "task vector, true label",
}


@dataclass(frozen=True)
class DigitFacts:
    """Everything that the page shows.

    pictures, uint8 (n, 3, 28, 28): `<model>/worst`, `<model>/own`, `<model>/others` for each model of `verdicts`.
    """

    digit: int
    verdicts: Mapping[str, Any]  # verdicts.json["models"]
    curves: Mapping[str, Sequence[Mapping[str, Any]]]  # verdicts.json["curves"]
    strength: Mapping[str, Any]  # strength.json
    pictures: Mapping[str, Tensor]
    params: Mapping[str, Any]  # the section `digits` as it was used
    judge: Mapping[str, Any]  # {"version": ..., "accuracy": ...}
    timings: Mapping[str, float]
    versions: Mapping[str, str]

    @property
    def complexities(self) -> list[int]:
        """The grids that were searched, coarse to fine."""
        return sorted({int(n) for found in self.verdicts.values() for n in found["complexity"]})


def called(name: str, verdict: Mapping[str, Any]) -> str:
    """A model as the page calls it; a task vector with its strength."""
    text = NAMES.get(name, name)
    return f"{text}, alpha {verdict['alpha']:g}" if verdict["method"] in TASK_VECTORS else text
