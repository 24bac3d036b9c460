"""What every selector answers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from ..vector import TaskVector
from .groups import Grain, group_of, groups


@dataclass(frozen=True)
class Selection:
    """A strength for each group of parameters, and the decisions that led to it, each with its numbers."""

    grain: Grain
    strengths: Mapping[str, float]
    decisions: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def everything(cls, keys: Iterable[str], grain: Grain) -> Self:
        """Strength 1 for all parameters."""
        return cls(grain, dict.fromkeys(groups(keys, grain), 1.0))

    def without(self, group: str) -> Self:
        """The same with one group left as it is in the base model."""
        return replace(self, strengths={**self.strengths, group: 0.0})

    def noting(self, **decision: Any) -> Self:
        """The same with one more decision."""
        return replace(self, decisions=(*self.decisions, decision))

    @property
    def edited(self) -> list[str]:
        """The groups that are edited at all."""
        return [group for group, strength in self.strengths.items() if strength]

    def by_parameter(self, keys: Iterable[str]) -> dict[str, float]:
        """The strength of each parameter."""
        return {key: self.strengths[group_of(key, self.grain)] for key in keys}

    def scaled(self, vector: TaskVector) -> TaskVector:
        """The vector with each group times its strength; groups of strength 0 are no part of it.

        `KeyMismatch` if nothing is left. Groups of strength 1 keep their bits.
        """
        strengths = self.by_parameter(vector.delta)
        kept = vector.restrict(lambda key: strengths[key] != 0)
        delta = {k: change if strengths[k] == 1 else strengths[k] * change for k, change in kept.delta.items()}
        return replace(kept, delta=delta)

    def as_dict(self) -> dict[str, Any]:
        """For selection.json."""
        return {"groups": self.grain, "strengths": dict(self.strengths), "decisions": list(self.decisions)}
