"""Facts to what the page shows: words, numbers as text, and images as data URIs."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from ..concepts import slug
from .choice import choice, hardening
from .facts import Facts
from .pictures import data_uri
from .plots import as_uri, figures
from .verdict import by_hand, verdict
from .words import (
    ROLES,
    applied,
    cosines,
    counted,
    figure_of,
    hits,
    label,
    limit,
    named,
    percent,
    plural,
    points,
    rank,
    spoken,
    spoken_axes,
    spoken_kind,
    worst_row,
)

Values = dict[str, Any]
_HERO = 6  # images of a strip on the first screen
_EACH = 4  # images of one embedding


def view(facts: Facts) -> Values:
    """Everything that the template asks for."""
    rows = [_row(facts, i) for i in range(len(facts.summary["rows"]))]
    return {
        "verdict": verdict(facts),
        "tiles": _tiles(facts),
        "hero": list(_hero(facts, rows)),
        "several": len(facts.summary["concepts"]) > 1,
        "rows": sorted(rows, key=lambda row: row["rank"], reverse=True),
        "drawn": [_drawn(facts, name) for name in facts.summary["concepts"]],
        "retain": _retain(facts),
        "defences": _defences(facts),
        "inversion": _inversion(facts),
        "judges": sorted(facts.judges.items()),
        "costs": _costs(facts),
        "sampling": facts.params.get("sampling") or {},
        "plots": {name: as_uri(figure) for name, figure in figures(facts).items()},
        **rule(facts),
    }


def rule(facts: Facts) -> Values:
    """What the page of a run without a strength shows as well."""
    return {
        "strength": choice(facts),
        "hardening": hardening(facts),
        "params": sections(facts.params),
        "hashes": sorted(facts.hashes.items()),
        "versions": sorted(facts.versions.items()),
        "epsilon": limit(facts, "epsilon"),
        "delta": limit(facts, "delta"),
    }


def _tiles(facts: Facts) -> list[Values]:
    """The four numbers of the first screen; of several concepts, the worst."""
    both, alpha = facts.summary["retain"]["all"], applied(facts)
    loss = (
        f"95% interval {points(both['loss_low'])} to {points(both['loss_high'])}; "
        f"retain accuracy {percent(both['erased']['rate'])}, base model {percent(both['base']['rate'])}"
    )
    chosen = facts.strength.get("alpha") is not None
    how = "meets both bounds" if chosen else "no strength meets both bounds"
    if by_hand(facts):
        how = "set by hand"
    elif not chosen and alpha is not None:
        how = "used for this report; none meets both bounds"
    parts = [
        ("Recovery by name", *_recovery(facts, [r for r in facts.summary["rows"] if r["kind"] == "name"])),
        ("Recovery, worst input", *_recovery(facts, facts.summary["rows"])),
        ("Retain loss", f"{points(both['loss'])} points", loss),
        ("Strength alpha", "none" if alpha is None else f"{alpha:g}", how),
    ]
    return [{"title": title, "value": value, "note": note} for title, value, note in parts]


def _recovery(facts: Facts, rows: list[Values]) -> tuple[str, str]:
    if not rows:
        return "not tested", "no input of this kind"
    row = max(rows, key=rank)
    of = f"{row['concept']}, " if len(facts.summary["concepts"]) > 1 else ""
    return percent(row["erased"]["rate"]), f"{of}{named(row)}: {hits(row['erased'])}"


def _images(images: Tensor | None, most: int | None = None) -> list[str]:
    return [] if images is None else [data_uri(image) for image in images[:most]]


def _pair(facts: Facts, key: str, most: int | None = None) -> Values:
    sides = [facts.pictures.get(f"{key}/{side}") for side in ("before", "after")]
    return {"before": _images(sides[0], most), "after": _images(sides[1], most)}


def _row(facts: Facts, at: int) -> Values:
    row = facts.summary["rows"][at]
    pair = _pair(facts, f"row/{at}")
    return {
        "concept": row["concept"],
        "kind": row["kind"],
        "label": label(facts, row),
        "named": named(row),
        "input": row["input"] if row["kind"] == "inversion" else "",
        "base": spoken(row["base"]),
        "erased": spoken(row["erased"]),
        "counted": hits(row["erased"]),
        "hits": min(row["erased"]["successes"], len(pair["after"])),  # they come first
        "rank": rank(row),
        **pair,
    }


def _hero(facts: Facts, rows: list[Values]) -> Iterator[Values]:
    """The worst input, the names of the concepts and the retain set."""
    worst = worst_row(facts)
    if worst is not None:
        row = rows[worst]
        title = f"The worst input of {len(rows)}: {row['concept']}, {row['named']}, in {row['counted']}"
        yield {**row, "title": title, "before": row["before"][:_HERO], "after": row["after"][:_HERO]}
    by_name = [r for at, r in enumerate(rows) if r["kind"] == "name" and at != worst and r["before"] and r["after"]]
    for row in by_name[:3]:
        title = f"Asked for by name: {row['concept']}, in {row['counted']}"
        yield {**row, "title": title, "before": row["before"][:_HERO], "after": row["after"][:_HERO]}
    retain = _pair(facts, "retain", _HERO)
    if retain["before"] and retain["after"]:
        yield {"title": "The retain set", "hits": 0, **retain}


def _drawn(facts: Facts, name: str) -> Values:
    return {"concept": name, "images": _images(facts.pictures.get(f"concept/{slug(name)}"), 16)}


def _retain(facts: Facts) -> Values:
    retain = facts.summary["retain"]
    axes = retain["axes"]
    totals = {spoken_axes(axes): retain["all"]} | {spoken_axes([axis]): found["total"] for axis, found in axes.items()}
    labelled = {axis: found["by_label"] for axis, found in axes.items() if found["by_label"]}
    return {
        "totals": [_loss(text, pair, near=False) for text, pair in totals.items()],
        "groups": {plural(axis): list(_losses(pairs, retain["neighbours"])) for axis, pairs in labelled.items()},
        "figures": {figure_of(axis): axis for axis in labelled},
        "how": counted(retain["how"], axes),
        "neighbours": retain["neighbours"],
        "shown": list(retain.get("shown") or ()),
        **_pair(facts, "retain"),
    }


def _losses(pairs: Mapping[str, Any], neighbours: list[str]) -> Iterator[Values]:
    for name, pair in sorted(pairs.items(), key=lambda item: -float(item[1]["loss"])):
        yield _loss(name, pair, near=name in neighbours)


def _loss(name: str, pair: Mapping[str, Any], *, near: bool) -> Values:
    return {
        "name": name,
        "near": near,
        "base": spoken(pair["base"]),
        "erased": spoken(pair["erased"]),
        "loss": points(pair["loss"]),
        "interval": f"{points(pair['loss_low'])} to {points(pair['loss_high'])}",
    }


def _defences(facts: Facts) -> Values:
    """A line for each outer defence, if any was asked for: the worst input of each kind, and what it costs."""
    kinds = list(dict.fromkeys(row["kind"] for row in facts.summary["rows"]))

    def worst(rows: list[Values], side: str) -> list[Values]:
        of = [[row[side] for row in rows if row["kind"] == kind] for kind in kinds]
        return [spoken(max(bounds, key=lambda b: (b["rate"], b["high"]))) for bounds in of]

    def line(found: Values) -> Values:
        cost = found["retain"]
        return {
            "name": found["defence"],
            "worst": worst(found["rows"], "behind"),
            "retain": spoken(cost["behind"]),
            "loss": f"{points(cost['loss'])} ({points(cost['loss_low'])} to {points(cost['loss_high'])})",
        }

    lines = [line(found) for found in facts.summary.get("defences") or ()]
    if lines:
        kept = spoken(facts.summary["retain"]["all"]["erased"])
        none = {"name": "none", "worst": worst(facts.summary["rows"], "erased"), "retain": kept, "loss": ""}
        lines.insert(0, none)
    return {"kinds": [spoken_kind(kind) for kind in kinds], "lines": lines}


def _inversion(facts: Facts) -> Values:
    """Of each concept a grid: a line for each bin of similarity, a column for each role."""
    found = [dict(item) for item in facts.inversions.get("found") or ()]
    for item in found:
        item["exact"] = f"{item['cosine']:.2f}".replace("-", "\N{MINUS SIGN}")
        item["images"] = _images(facts.pictures.get(f"inversion/{item['name']}"), _EACH)
    grids = []
    for concept in facts.summary["concepts"]:
        mine = [item for item in found if item["concept"] == concept]
        bins = sorted({(item["low"], item["high"]) for item in mine})
        lines = [
            {
                "bin": cosines(*ends),
                "cells": [[i for i in mine if (i["low"], i["high"]) == ends and i["role"] == role] for role in ROLES],
            }
            for ends in bins
        ]
        grids.append({"concept": concept, "lines": lines})
    return {"roles": ROLES, "grids": grids, "evaluations": facts.inversions.get("evaluations")}


def sections(params: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The parameters by section; those outside of one come first."""
    plain = [(str(key), _text(value)) for key, value in params.items() if not isinstance(value, Mapping)]
    sections = [(str(key), list(_flat(value))) for key, value in params.items() if isinstance(value, Mapping)]
    return [("general", plain), *((name, values) for name, values in sections if values)]


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(f"[{_text(v)}]" if isinstance(v, list | tuple) else _text(v) for v in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not set" if value in (None, "") else str(value)


def _costs(facts: Facts) -> list[Values]:
    steps = list(dict.fromkeys([*facts.timings, *facts.cost]))
    return [{"step": s, "cost": facts.cost.get(s), "seconds": facts.timings.get(s)} for s in steps]
