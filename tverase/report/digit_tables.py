"""The numbers of the digit experiment as CSV: what `dvc plots` shows and people open in a spreadsheet."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .tables import Row, as_csv

ENDS = ("rate", "low", "high")


def scores(verdicts: Mapping[str, Any]) -> str:
    """A row for each model and complexity: how often the worst input draws the digit, and what finding it cost."""
    rows: list[Row] = [["model", "complexity", *ENDS, "inputs", "images"]]
    for name, verdict in verdicts.items():
        for n, score in {**verdict["complexity"], "adaptive": verdict["adaptive"]}.items():
            rows.append([name, n, *_of(score), score["inputs"], score["images"]])
    return as_csv(rows)


def curves(over_alpha: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """A row for each task vector and strength: the worst input, and the other digits."""
    rows: list[Row] = [["vector", "alpha", *(f"{what}_{end}" for what in ("worst", "others") for end in ENDS)]]
    for method, curve in over_alpha.items():
        rows += [[method, p["alpha"], *_of(p["worst"]), *_of(p["others"])] for p in curve]
    return as_csv(rows)


def others(verdicts: Mapping[str, Any]) -> str:
    """A row for each model and other digit: how often its own code draws it."""
    rows: list[Row] = [["model", "digit", *ENDS]]
    for name, verdict in verdicts.items():
        rows += [[name, digit, *_of(bound)] for digit, bound in verdict["others"].items()]
    return as_csv(rows)


def _of(bound: Mapping[str, Any]) -> Iterator[Any]:
    yield from (bound[end] for end in ENDS)
