"""Numbers and names as a reader sees them, and the settings that a report refers to."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..concepts import slug
from ..retention import AGREE, AGREEMENT
from ..strength.settings import ChooseStrength
from .facts import Facts

ROLES = {
    "tune": "tune: hardening and the search of the strength use these",
    "validate": "validate: these confirm the strength",
    "report": "report: this report alone uses these",
}
KINDS = {
    "name": "name",
    "synonyms": "synonym",
    "compositions": "composition",
    "grown": "added prompt",
    "inversion": "DI embedding",
    "attack": "adversarial embedding",
    "weaker": "adversarial embedding of a weaker edit",
    "states": "adversarial embedding of a whole prompt",
    "ascent": "input of a search on the sphere",
    "anywhere": "random input",
}


def percent(share: float | None) -> str:
    """`0.0333` -> `3.3%`; a dash where nothing was measured."""
    return "\N{EN DASH}" if share is None else f"{share:.1%}"


def limit(facts: Facts, name: str) -> str:
    """A bound of the rule as it was set: `epsilon = 15%`."""
    return f"{name} = {100 * setting(facts, name):g}%".replace(" ", "\N{NO-BREAK SPACE}")


def interval(bound: Mapping[str, Any]) -> str:
    """`0.0% to 6.0%`, the ends of a `Bound`."""
    return f"{percent(bound['low'])} to {percent(bound['high'])}"


def spoken(bound: Mapping[str, Any]) -> dict[str, Any]:
    """A `Bound` with its rate and its interval as text."""
    return {**bound, "share": percent(bound["rate"]), "interval": interval(bound)}


def points(share: float) -> str:
    """A difference of two shares: `0.081` -> `8.1`, with a true minus sign and never a negative zero."""
    return f"{round(100 * share, 1) + 0.0:.1f}".replace("-", "\N{MINUS SIGN}")


def cosines(low: float, high: float) -> str:
    """A bin of similarity: `0.2 to 0.4`."""
    return f"{low:g} to {high:g}".replace("-", "\N{MINUS SIGN}")


def listing(names: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *most, last = list(names) or ["nothing"]
    return f"{', '.join(most)} and {last}" if most else last


def count(number: int, noun: str) -> str:
    """`1 image`, `2 images`, `12,345 images`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def spoken_kind(name: str) -> str:
    """The input kind in words; the label of an attack that has none."""
    return KINDS.get(name, f"attack {name}")


def plural(axis: str) -> str:
    """An axis of the judge as a heading: `object` -> `Objects`."""
    return f"{axis[:1].upper()}{axis[1:]}s"


def figure_of(axis: str) -> str:
    """The name of the figure of an axis, which is a file's as well."""
    return f"retain_{slug(axis)}"


def spoken_axes(axes: Iterable[str]) -> str:
    """The axes that were counted on the retain set: `object and style`."""
    return listing(_AGREED if axis == AGREEMENT else axis for axis in axes)


def counted(how: str, axes: Iterable[str]) -> str:
    """How the retain set was counted, as sentences: by recognition, by agreement, or by both."""
    seen = listing(f"the {axis}" for axis in axes if axis != AGREEMENT)
    recognised = f"An image is right if the judge sees {seen} that the prompt asks for."
    agreed = (
        "An image is right if it agrees with the base model's image from the same noise (correlation of grey thumbnails of "
        f"16 x 16 of at least {AGREE:g}). This is agreement, not recognition: no judge looked for what the prompt asks for."
    )
    if how == "both":
        return f"{recognised} Where a prompt has no label: {agreed[0].lower()}{agreed[1:]}"
    return agreed if how == "agreement" else recognised


_AGREED = "agreement with the base model's image"


def setting(facts: Facts, name: str) -> Any:
    """A value of `choose_strength` as it was used, or its default."""
    section = facts.params.get("choose_strength") or {}
    return section.get(name, ChooseStrength.model_fields[name].default)


def found(facts: Facts, concept: str, name: str) -> Mapping[str, Any] | None:
    """The facts of the embedding called `name`; two concepts may use the same name."""
    known = [item for item in facts.inversions.get("found", ()) if item["name"] == name]
    return next((item for item in known if item["concept"] == concept), None)


def label(facts: Facts, row: Mapping[str, Any]) -> str:
    """The input kind of a row and its prompts, or its bin of similarity if it is a DI embedding."""
    item = found(facts, row["concept"], row["input"]) if row["kind"] == "inversion" else None
    if item is None:
        return f"{spoken_kind(row['kind'])}, {row['input']}"
    rows = [r["input"] for r in facts.summary["rows"] if r["concept"] == row["concept"] and r["kind"] == "inversion"]
    known = [found(facts, row["concept"], name) for name in rows]
    mates = [k["name"] for k in known if k and (k["low"], k["high"]) == (item["low"], item["high"])]
    number = f" ({mates.index(item['name']) + 1})" if len(mates) > 1 else ""
    return f"DI embedding, cosine {cosines(item['low'], item['high'])}{number}"


def applied(facts: Facts) -> float | None:
    """The strength of the erased model: chosen, or set by hand."""
    alpha = facts.metrics.get("alpha", facts.strength.get("alpha"))
    return None if alpha is None else float(alpha)


def worst_row(facts: Facts) -> int | None:
    """The place of the row that recovers the concept most often, or None without rows."""
    rows = facts.summary["rows"]
    return max(range(len(rows)), key=lambda at: rank(rows[at]), default=None)


def rank(row: Mapping[str, Any]) -> tuple[float, float, bool]:
    """A worse input ranks higher: by its rate, then by its upper bound; an adversarial embedding wins a tie."""
    return row["erased"]["rate"], row["erased"]["high"], row["adaptive"]


def named(row: Mapping[str, Any]) -> str:
    """The input kind and the name of an input: `adversarial embedding "attempt 2"`."""
    return f"{spoken_kind(row['kind'])} \N{LEFT DOUBLE QUOTATION MARK}{row['input']}\N{RIGHT DOUBLE QUOTATION MARK}"


def hits(bound: Mapping[str, Any]) -> str:
    """`2 of 60 images (95% interval 0.4% to 11.5%)`, an exact interval."""
    return f"{bound['successes']} of {count(bound['trials'], 'image')} (exact 95% interval {interval(bound)})"
