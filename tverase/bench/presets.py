"""What `quick` and the full table contain. Attacks and erasers of other packages are in both."""

from collections.abc import Sequence
from typing import Any

from ..registry import entries
from .case import Budget

# Settings beside the defaults: whether an attack finds anything depends on them.
SWEPT: tuple[dict[str, Any], ...] = (
    {"kind": "concept-inversion", "lr": 0.1},
    {"kind": "concept-inversion", "space": "states"},
    {"kind": "concept-inversion", "space": "states", "lr": 0.1},
)
# Chosen by cost on the embedded model: those that take longest are left to the full table (docs/bench.md).
QUICK = {
    "attack": ("prompts", "di-embeddings", "concept-inversion", "ring-a-bell", "completion", "rounding"),
    "eraser": ("esd", "uce", "task-vector"),
}
QUICK_BUDGET: dict[str, Any] = {
    "each": 16,
    "seconds": 120,
    "owned": 40,
    "plain": 100,
    "retain": 80,
    "tune": 6,
    "strengths": (1.0, 2.0, 3.0),
    "retain_images": 120,
    "images": 60,
    "ours": {"choose_strength": {"explore": 6, "round": 12, "retain_images": 80, "frontier": []}},
}
QUICK_INVERT: dict[str, Any] = {"bins": ((0.0, 0.2), (0.4, 0.6), (0.95, 0.98)), "images": 8}


def chosen(kind: str, *, quick: bool) -> list[str]:
    """The plug-ins of a table by default: all, or the quick ones and those of other packages."""
    every = entries(kind)
    if not quick:
        return list(every)
    return [name for name, entry in every.items() if name in QUICK[kind] or entry.origin != "tverase"]


def budget(*, quick: bool, **more: Any) -> Budget:
    """The budget of a table, with whatever is set by hand."""
    given = {**(QUICK_BUDGET if quick else {}), **{key: value for key, value in more.items() if value is not None}}
    return Budget.model_validate(given)


def specs(given: Sequence[str], kind: str, *, quick: bool) -> list[str | dict[str, Any]]:
    """What was asked for, names or settings as JSON; otherwise the default."""
    from ..yamlfile import parse_value

    found: list[str | dict[str, Any]] = [parse_value(one, one) if one.startswith("{") else one for one in given]
    more = SWEPT if kind == "attack" and not quick else ()
    return found or [*chosen(kind, quick=quick), *more]
