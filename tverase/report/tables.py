"""The numbers of a report as CSV files, in an order that does not change."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..files import write_text
from .facts import Facts
from .words import found

Row = Sequence[Any]


def write_tables(facts: Facts, folder: Path) -> None:
    """recovery.csv, retain.csv, strength.csv, hardening.csv, inversions.csv; defences.csv if any."""
    for name, (header, rows) in tables(facts).items():
        write_text(folder / f"{name}.csv", as_csv([header, *rows]))


def as_csv(rows: Iterable[Row]) -> str:
    """Rows, the header among them, as the text of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def tables(facts: Facts) -> dict[str, tuple[Row, list[Row]]]:
    """Header and rows of every table, by name; an empty cell is a number that was not measured."""
    known: dict[str, tuple[Row, list[Row]]] = {
        "recovery": (
            ["concept", "kind", "input", "bin_low", "bin_high", *_ends("base"), *_ends("erased")],
            list(_recovery(facts)),
        ),
        "retain": (
            ["group", "name", "neighbour", *_ends("base"), *_ends("erased"), "loss", "loss_low", "loss_high"],
            list(_retain(facts)),
        ),
        "strength": (["alpha", "role", "passes", "upper", "input", "successes", "trials"], list(_strength(facts))),
        "hardening": (
            ["round", "concept", "input", "share", "successes", "trials"],
            [
                [one["round"], *(found[key] for key in ("concept", "name", "share", "hits", "images"))]
                for one in facts.hardening.get("rounds", ())
                for found in one["found"]
            ],
        ),
        "inversions": (
            ["role", "concept", "name", "bin_low", "bin_high", "cosine", "hits", "drawn", "accepted"],
            [_inversion(item) for item in facts.inversions.get("found", ())],
        ),
    }
    if behind := facts.summary.get("defences"):
        header = ["defence", "concept", "kind", "input", *_ends("behind")]
        known["defences"] = (header, list(_defences(behind)))
    return known


def _ends(model: str) -> list[str]:
    return [f"{model}_{part}" for part in ("successes", "trials", "rate", "low", "high")]


def _bound(bound: dict[str, Any]) -> list[Any]:
    return [bound[part] for part in ("successes", "trials", "rate", "low", "high")]


def _recovery(facts: Facts) -> Iterable[Row]:
    for row in facts.summary["rows"]:
        item = found(facts, row["concept"], row["input"]) if row["kind"] == "inversion" else None
        ends = [item["low"], item["high"]] if item else ["", ""]
        yield [row["concept"], row["kind"], row["input"], *ends, *_bound(row["base"]), *_bound(row["erased"])]


def _retain(facts: Facts) -> Iterable[Row]:
    retain = facts.summary["retain"]
    axes = retain["axes"].items()
    groups = {"all": {"all": retain["all"], **{axis: found["total"] for axis, found in axes}}}
    groups |= {axis: found["by_label"] for axis, found in axes}
    for group, pairs in groups.items():
        for name, pair in pairs.items():
            near = name in retain["neighbours"] and group != "all"
            loss = [pair["loss"], pair["loss_low"], pair["loss_high"]]
            yield [group, name, near, *_bound(pair["base"]), *_bound(pair["erased"]), *loss]


def _defences(behind: Iterable[dict[str, Any]]) -> Iterable[Row]:
    """The last line of each is the retain accuracy."""
    for one in behind:
        for row in one["rows"]:
            yield [one["defence"], row["concept"], row["kind"], row["input"], *_bound(row["behind"])]
        yield [one["defence"], "", "retain", "", *_bound(one["retain"]["behind"])]


def _strength(facts: Facts) -> Iterable[Row]:
    """A line for each strength and input: explored strengths first, then the tested ones, the strongest first."""
    explored = [
        {**one, "role": "tune", "safe": one["erases"], "upper": ""} for one in facts.strength.get("explored", ())
    ]
    for one in [*explored, *facts.strength.get("tested", ())]:
        for name, counts in one["counts"].items():
            yield [one["alpha"], one["role"], one["safe"], one["upper"], name, *counts]


def _inversion(item: dict[str, Any]) -> Row:
    return [item[key] for key in ("role", "concept", "name", "low", "high", "cosine", "hits", "drawn", "accepted")]
