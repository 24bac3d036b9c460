"""What Diverse Inversion found: embeddings with the bin, the cosine and the rate at which each draws the concept."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from ..errors import ModelError
from ..files import read_tensors, write_tensors

ROLES = ("tune", "validate", "report")


@dataclass(frozen=True)
class Found:
    """One embedding: what it is called, its bin, its cosine to the concept's own, and its rate on the base model."""

    name: str
    concept: str
    low: float
    high: float
    cosine: float
    hits: int
    drawn: int
    accepted: bool


@dataclass(frozen=True)
class InversionSet:
    """Embeddings (K, E) with the facts of each; `template` is their prompt.

    E is the dimension of the searched space: m free tokens have m times that of one.
    """

    points: Tensor
    found: tuple[Found, ...]
    template: str

    def accepted(self, concept: str | None = None) -> "InversionSet":
        """Only those that draw the concept (one of several, if named)."""
        keep = [i for i, f in enumerate(self.found) if f.accepted and concept in (None, f.concept)]
        return InversionSet(self.points[keep], tuple(self.found[i] for i in keep), self.template)

    def __len__(self) -> int:
        return len(self.found)

    def __add__(self, other: "InversionSet") -> "InversionSet":
        return InversionSet(torch.cat([self.points, other.points]), self.found + other.found, self.template)

    def save(self, path: Path) -> None:
        """One safetensors file, the rest in its metadata."""
        about = {"template": self.template, "found": json.dumps([vars(f) for f in self.found])}
        write_tensors({"points": self.points}, path, about)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        tensors, about = read_tensors(path)
        if "found" not in about:
            raise ModelError(f"{path} holds no inversion set.")
        found = tuple(Found(**f) for f in json.loads(about["found"]))
        return cls(tensors["points"], found, about["template"])


def by_bin(found: Iterable[Found]) -> list[dict[str, Any]]:
    """For each concept and bin: how many were tried, how many accepted, and their mean rate."""
    bins: dict[tuple[str, float, float], list[Found]] = {}
    for item in found:
        bins.setdefault((item.concept, item.low, item.high), []).append(item)
    return [
        {
            "concept": concept,
            "low": low,
            "high": high,
            "tried": len(items),
            "found": sum(i.accepted for i in items),
            "rate": round(sum(i.hits for i in items) / max(1, sum(i.drawn for i in items)), 4),
        }
        for (concept, low, high), items in sorted(bins.items())
    ]


def per_accepted(cost: int, found: Sequence[Found]) -> float | None:
    """`cost` for each embedding that draws its concept; None if none does."""
    accepted = sum(item.accepted for item in found)
    return round(cost / accepted, 1) if accepted else None
