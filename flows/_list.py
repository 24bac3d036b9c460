"""`tverase list`: what can be chosen by name."""

from dataclasses import asdict
from typing import Any

from tverase.errors import ConfigError, unknown
from tverase.registry import KINDS, entries

PLURALS = {f"{kind}s": kind for kind in KINDS}


def listed(kinds: str) -> list[dict[str, Any]]:
    """The plug-ins of a kind, of `attacks`, `erasers`, `judges`, `models` or `concepts`, as JSON facts."""
    kind = PLURALS.get(kinds, kinds)
    if kind not in KINDS:
        raise ConfigError(f"{unknown('kind of plug-in', kinds, PLURALS)}.")
    return [asdict(entry) for entry in entries(kind).values()]


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each plug-in: its name, what it is, its paper, and its package if it is not tverase."""
    wide = max((len(row["name"]) for row in rows), default=0)
    lines = []
    for row in rows:
        paper = f" [{row['paper']}]" if row["paper"] else ""
        origin = f" (from {row['origin']})" if row["origin"] != "tverase" else ""
        lines.append(f"{row['name']:<{wide}}  {row['about']}{paper}{origin}")
    return "\n".join(lines) if lines else "none"
