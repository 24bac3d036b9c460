"""Facts to what the page shows: words, numbers as text, and images as data URIs."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from ..concepts import slug
from .facts import Facts
from .pictures import data_uri
from .plots import as_uri, figures
from .verdict import by_hand, verdict
from .words import (
    ROLES,
    applied,
    cosines,
    count,
    counted,
    figure_of,
    interval,
    label,
    limit,
    percent,
    plural,
    points,
    spoken,
    spoken_axes,
    spoken_kind,
)

Values = dict[str, Any]
_HERO = 6  # images of a strip on the first screen
_WORST, _LEAST = 8, 3  # rows of the list of worst inputs; so many even if they bring nothing back
_EACH = 4  # images of one embedding


def view(facts: Facts) -> Values:
    """Everything that the template asks for."""
    found = verdict(facts)
    rows = [_row(facts, i) for i in range(len(facts.summary["rows"]))]
    return {
        "verdict": found,
        "tiles": _tiles(facts),
        "hero": _hero(facts, rows),
        "concepts": facts.summary["concepts"],
        "several": len(facts.summary["concepts"]) > 1,
        "rows": rows,
        "drawn": [_drawn(facts, name) for name in facts.summary["concepts"]],
        "worst": _worst(facts, rows),
        "control": _control(facts),
        "defences": _defences(facts),
        "strength": curve(facts),
        "inversion": _inversion(facts),
        "plots": _plots(facts),
        "params": sections(facts.params),
        "hashes": sorted(facts.hashes.items()),
        "judges": sorted(facts.judges.items()),
        "versions": sorted(facts.versions.items()),
        "costs": _costs(facts),
        "sampling": facts.params.get("sampling") or {},
        "epsilon": limit(facts, "epsilon"),
        "delta": limit(facts, "delta"),
    }


def _tiles(facts: Facts) -> list[Values]:
    """The four numbers of the first screen; of several concepts, the worst."""
    both, alpha = facts.summary["control"]["all"], applied(facts)
    loss = (
        f"95% interval {points(both['loss_low'])} to {points(both['loss_high'])}; "
        f"from {percent(both['base']['rate'])} to {percent(both['erased']['rate'])}"
    )
    chosen = facts.strength.get("alpha") is not None
    how = "meets both bounds" if chosen else "no strength meets both bounds"
    if by_hand(facts):
        how = "set by hand"
    elif not chosen and alpha is not None:
        how = "used for this report; none meets both bounds"
    parts = [
        ("Recovery by name", *_named(facts)),
        ("Worst held-back embedding", *_held_back(facts)),
        ("Control loss", f"{points(both['loss'])} points", loss, ""),
        ("Strength alpha", "none" if alpha is None else f"{alpha:g}", how, ""),
    ]
    several = len(facts.summary["concepts"]) > 1
    return [{"title": t, "value": v, "note": n, "concept": c if several else ""} for t, v, n, c in parts]


def _named(facts: Facts) -> tuple[str, str, str]:
    rows = [r for r in facts.summary["rows"] if r["kind"] == "name"]
    if not rows:
        return "not tested", "no prompt with the name", ""
    row = max(rows, key=lambda r: float(r["erased"]["rate"]))
    note = f"95% interval {interval(row['erased'])}; base model {percent(row['base']['rate'])}"
    return percent(row["erased"]["rate"]), note, row["concept"]


def _held_back(facts: Facts) -> tuple[str, str, str]:
    worsts = [(c, w) for c, w in facts.summary["worst"].items() if w["input"] is not None]
    if not worsts:
        return "not tested", "no embedding was accepted", ""
    concept, worst = max(worsts, key=lambda item: float(item[1]["all_inputs_high"]))
    inputs = count(worst["inputs"], "embedding")
    return (
        percent(worst["rate"]),
        f"at most {percent(worst['all_inputs_high'])} for all {inputs}, 95% confidence",
        concept,
    )


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
        "spoken": spoken_kind(row["kind"]),
        "label": label(facts, row),
        "input": row["input"] if row["kind"] == "inversion" else "",
        "base": spoken(row["base"]),
        "erased": spoken(row["erased"]),
        "hits": min(row["erased"]["successes"], len(pair["after"])),  # they come first
        "rank": (row["erased"]["rate"], row["erased"]["high"]),
        **pair,
    }


def _hero(facts: Facts, rows: list[Values]) -> list[Values]:
    """Of each concept its name's images, and at the end everything else."""
    named = [r for r in rows if r["kind"] == "name" and r["before"] and r["after"]]
    strips = [
        {
            "title": f"Asked for: {r['concept']}",
            "before": r["before"][:_HERO],
            "after": r["after"][:_HERO],
            "hits": min(r["hits"], _HERO),
        }
        for r in named[:3]
    ]
    control = _pair(facts, "control", _HERO)
    if control["before"] and control["after"]:
        strips.append({"title": "Asked for: unrelated things", "hits": 0, **control})
    return strips


def _drawn(facts: Facts, name: str) -> Values:
    return {"concept": name, "images": _images(facts.pictures.get(f"concept/{slug(name)}"), 16)}


def _worst(facts: Facts, rows: list[Values]) -> list[Values]:
    """The inputs that bring a concept back most often, those whose bound is loosest first among equals."""
    ranked = sorted(rows, key=lambda row: row["rank"], reverse=True)
    return [row for at, row in enumerate(ranked) if at < _LEAST or (at < _WORST and row["erased"]["successes"])]


def _control(facts: Facts) -> Values:
    control = facts.summary["control"]
    axes = control["axes"]
    totals = {spoken_axes(axes): control["all"]} | {spoken_axes([axis]): found["total"] for axis, found in axes.items()}
    named = {axis: found["by_label"] for axis, found in axes.items() if found["by_label"]}
    return {
        "totals": [_loss(text, pair, near=False) for text, pair in totals.items()],
        "groups": {plural(axis): list(_losses(pairs, control["neighbours"])) for axis, pairs in named.items()},
        "figures": {figure_of(axis): axis for axis in named},
        "how": counted(control["how"], axes),
        "neighbours": control["neighbours"],
        "shown": list(control.get("shown") or ()),
        **_pair(facts, "control"),
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
        cost = found["control"]
        return {
            "name": found["defence"],
            "worst": worst(found["rows"], "behind"),
            "control": spoken(cost["behind"]),
            "loss": f"{points(cost['loss'])} ({points(cost['loss_low'])} to {points(cost['loss_high'])})",
        }

    lines = [line(found) for found in facts.summary.get("defences") or ()]
    if lines:
        kept = spoken(facts.summary["control"]["all"]["erased"])
        none = {"name": "none", "worst": worst(facts.summary["rows"], "erased"), "control": kept, "loss": ""}
        lines.insert(0, none)
    return {"kinds": [spoken_kind(kind) for kind in kinds], "lines": lines}


def curve(facts: Facts) -> Values:
    """What the search tried, and the frontier beside it."""
    tested = [
        {**t, "upper": percent(t["upper"]), "hits": t["counts"][t["worst"]][0], "drawn": t["counts"][t["worst"]][1]}
        for t in facts.strength.get("tested") or ()
    ]
    images, grid = facts.strength.get("images") or 0, facts.strength.get("even_grid") or 0
    frontier = [
        {
            "alpha": entry["alpha"],
            **{key: spoken(entry[key]) if entry.get(key) else None for key in ("name", "worst", "control")},
        }
        for entry in facts.strength.get("frontier") or ()
    ]
    return {
        "feasible": facts.strength.get("alpha") is not None,
        "alpha": facts.strength.get("alpha"),
        "applied": applied(facts),
        "reason": facts.strength.get("reason") or "no reason given",
        "tested": tested,
        "frontier": frontier,
        "cost": f"{count(images, 'image')} drawn" + (f"; an even grid would have drawn {grid:,}" if grid else ""),
    }


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


def _plots(facts: Facts) -> dict[str, str]:
    return {name: as_uri(figure) for name, figure in figures(facts).items()}


def sections(params: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """By section; what stands outside of one comes first."""
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
