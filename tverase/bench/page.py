"""The table as one HTML page, as CSV and as JSON."""

import io
from base64 import b64encode
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..files import write_json, write_text
from ..report.plots import as_uri, save_png
from ..report.tables import as_csv
from ..report.words import count, interval, percent, points
from . import figures, words
from .table import KINDS, compared

Json = dict[str, Any]
PAGE, TABLE, CELLS, ROWS = "bench.html", "bench.json", "cells.csv", "rows.csv"
PLOTS = {"ladder.png": figures.ladder, "trade-off.png": figures.trade_off}
SHOWN_TEXT = 3  # prompts beside a picture
HIGH = 96  # pixels of a strip on the page
_DASH = "\N{EN DASH}"


def write_all(table: Json, out: Path) -> dict[str, Path]:
    """Write page, JSON, CSV and figures to a folder; equal tables give equal bytes."""
    write_json(out / TABLE, table)
    write_text(out / CELLS, as_csv(cell_lines(table)))
    write_text(out / ROWS, as_csv(row_lines(table)))
    for name, plot in PLOTS.items():
        save_png(plot(table), out / name)
    write_text(out / PAGE, render(table, out))
    return {name: out / name for name in (PAGE, TABLE, CELLS, ROWS, *PLOTS)}


def render(table: Json, out: Path) -> str:
    """The page as text. out: the folder with the pictures of the cells."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    css = files("tverase.report").joinpath("report.css").read_text(encoding="utf-8")
    page = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return page.get_template("bench.html.j2").render(css=css, **view(table, out)) + "\n"


def view(table: Json, out: Path) -> dict[str, Any]:
    """Everything that the template asks for."""
    names = [attack["name"] for attack in table["attacks"]]
    return {
        "title": table["title"],
        "headline": words.headline(table),
        "lead": [text for text in words.lead(table) if text],
        "notes": words.notes(table),
        "rows": _rows(table),
        "attacks": [_attack(attack) for attack in table["attacks"]],
        "matrix": _matrix(table, names),
        "names": names,
        "plots": {"ladder": as_uri(figures.ladder(table)), "trade_off": as_uri(figures.trade_off(table))},
        "pictures": [_pictures(row["name"], table, out) for row in table["rows"]],
        "missing": [cell for cell in table["cells"] if cell["state"] != "done"],
        "judges": table["judges"],
        "budget": sorted((key, value) for key, value in table["budget"].items() if key != "ours"),
        "kinds": list(enumerate(KINDS)),
    }


def _rows(table: Json) -> list[dict[str, Any]]:
    numbers = {row["name"]: at for at, row in enumerate(compared(table["rows"]), 1)}
    return [_row(row, numbers.get(row["name"])) for row in table["rows"]]


def _row(row: Json, number: int | None) -> dict[str, Any]:
    worst, every = row["recovery"], row["recovery_all"]
    return {
        "number": number or "",
        "name": row["name"],
        "kind": row["about"] or _KINDS[row["kind"]],
        "guard": any(edit["guard"] for edit in row["edits"]),
        "front": row["front"],
        "worst": _bound(worst),
        "by": f"{worst['attack']}: {worst['finding']}" if worst else "",
        "every": _bound(every),
        "every_by": every["attack"] if every else "",
        "near": _loss(row["retain"]["near"]),
        "far": _loss(row["retain"]["far"]),
        "strength": _strength(row["edits"]),
        "states": ", ".join(f"{number} {state}" for state, number in row["states"].items() if number),
    }


_KINDS = {
    "base": "the base model: every attack has to succeed here",
    "never-taught": "a model that never learned the concept: no attack may succeed here",
    "eraser": "an eraser",
    "ours": "ours",
    "folder": "a given model",
}


def _bound(bound: Json | None) -> dict[str, str]:
    return {"share": percent(bound["rate"] if bound else None), "interval": interval(bound) if bound else ""}


def _loss(loss: Json | None) -> dict[str, str]:
    if loss is None:
        return {"loss": _DASH, "interval": ""}
    return {"loss": points(loss["loss"]), "interval": f"{points(loss['loss_low'])} to {points(loss['loss_high'])}"}


def _strength(edits: Sequence[Json]) -> str:
    """The strengths of all concepts and seeds; those that do not erase are marked."""
    failed = [edit["why"] for edit in edits if edit["state"] != "done"]
    found = [f"{edit['alpha']:g}{'' if edit['erases'] else '*'}" for edit in edits if edit["state"] == "done"]
    return ", ".join(dict.fromkeys(found)) + (f" ({failed[0]})" if failed else "")


def _attack(attack: Json) -> dict[str, Any]:
    cost = attack["cost"]
    return {
        **attack,
        "kind": f"{attack['input_kind']} {KINDS[attack['input_kind']]}",
        "base": _bound(attack["positive"]),
        "control": _bound(attack["never"]),
        "evaluations": _DASH if cost is None else f"{cost:,}",
        "scoring": _DASH if attack["score"] is None else f"{attack['score']:,}",
        "mark": " and ".join([*(["paints"] * attack["paints"]), *(["weak"] * attack["weak"])]),
    }


def _matrix(table: Json, names: Sequence[str]) -> list[dict[str, Any]]:
    """A line for each row, a cell for each attack: the worst of all concepts and seeds."""
    lines = []
    for row in table["rows"]:
        cells = []
        for name in names:
            mine = [cell for cell in table["cells"] if (cell["row"], cell["attack"]) == (row["name"], name)]
            done = [cell["both"] for cell in mine if cell["state"] == "done"]
            worst = max(done, key=lambda bound: bound["rate"], default=None)
            states = [cell["state"] for cell in mine if cell["state"] != "done"]
            cells.append(
                {"text": f"{worst['rate']:.0%}" if worst else (states or [_DASH])[0], "partial": bool(states and worst)}
            )
        lines.append({"name": row["name"], "cells": cells})
    return lines


def _pictures(name: str, table: Json, out: Path) -> dict[str, Any]:
    """Every finished cell of a row, the worst first."""
    mine = [cell for cell in table["cells"] if cell["row"] == name and cell["state"] == "done"]
    mine.sort(key=lambda cell: (-cell["both"]["rate"], cell["attack"]))
    return {"name": name, "cells": [_picture(cell, out, several=_several(table)) for cell in mine]}


def _several(table: Json) -> bool:
    return len(table["concepts"]) * len(table["seeds"]) > 1


def _picture(cell: Json, out: Path, *, several: bool) -> dict[str, Any]:
    both, plain = cell["both"], cell["plain"]
    alone = [f"{one['successes']}" for one in cell["judges"]]
    where = f"{cell['concept']}, seed {cell['seed']}: " if several else ""
    return {
        "title": f"{where}{cell['attack']}: {cell['finding']}",
        "text": "; ".join(cell["text"][:SHOWN_TEXT]) + ("; ..." if len(cell["text"]) > SHOWN_TEXT else ""),
        "seen": f"{both['successes']} of {count(both['trials'], 'image')} ({interval(both)})",
        "alone": f"judges alone: {' and '.join(alone)}" if len(alone) > 1 else "",
        "plain": f"plain draws of the name: {plain['successes']} of {plain['trials']}" if plain else "",
        "hits": cell["pictures"]["hits"],
        "src": _src(out / cell["png"]),
    }


def _src(path: Path) -> str:
    """A strip for an `src`: a low one as it is, a high one smaller."""
    from PIL import Image

    with Image.open(path) as strip:
        if strip.height <= HIGH:
            return f"data:image/png;base64,{b64encode(path.read_bytes()).decode()}"
        small = strip.resize((round(strip.width * HIGH / strip.height), HIGH), Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=80)
    return f"data:image/webp;base64,{b64encode(buffer.getvalue()).decode()}"


def cell_lines(table: Json) -> list[list[Any]]:
    """The header, then a line for each cell; what a cell has not is empty."""
    header = ["concept", "seed", "row", "attack", "input_kind", "state", "why", "finding", "hits", "images", "rate", "low", "high",
              "hits_first_judge", "hits_second_judge", "plain_hits", "plain_images", "attack_evaluations", "score_evaluations",
              "base_rate", "never_taught_rate", "paints"]  # fmt: skip
    attacks = {attack["name"]: attack for attack in table["attacks"]}
    return [header, *(_line(cell, attacks[cell["attack"]]) for cell in table["cells"])]


def _line(cell: Json, attack: Json) -> list[Any]:
    first = [cell[key] for key in ("concept", "seed", "row", "attack", "input_kind", "state", "why")]
    controls = [*((attack[key] or {}).get("rate", "") for key in ("positive", "never")), attack["paints"]]
    if cell["state"] != "done":
        return [*first, *[""] * 12, *controls]
    alone = [one["successes"] for one in cell["judges"]]
    plain = cell["plain"] or {}
    both = [cell["both"][key] for key in ("successes", "trials", "rate", "low", "high")]
    return [*first, cell["finding"], *both, alone[0], alone[1] if len(alone) > 1 else "",
            plain.get("successes", ""), plain.get("trials", ""), cell["cost"]["attack"], cell["cost"]["score"], *controls]  # fmt: skip


def row_lines(table: Json) -> list[list[Any]]:
    """The header, then a line for each row."""
    losses = [f"{name}_{key}" for name in ("near", "far") for key in ("loss", "loss_low", "loss_high")]
    header = [
        "row",
        "kind",
        "front",
        "worst_recovery",
        "low",
        "high",
        "attack",
        "worst_of_all_kinds",
        *losses,
        "strength",
    ]
    lines: list[list[Any]] = [header]
    for row in table["rows"]:
        worst, every = row["recovery"] or {}, row["recovery_all"] or {}
        kept = [(row["retain"][n] or {}).get(k, "") for n in ("near", "far") for k in ("loss", "loss_low", "loss_high")]
        figures_ = [worst.get(key, "") for key in ("rate", "low", "high", "attack")]
        lines.append(
            [row["name"], row["kind"], row["front"], *figures_, every.get("rate", ""), *kept, _strength(row["edits"])]
        )
    return lines
