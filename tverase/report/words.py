"""Numbers and names as a reader sees them, and the settings that a report refers to."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..concepts import slug
from ..retention import AGREE, AGREEMENT
from ..strength import Strength
from .facts import Facts

ROLES = {
    "tune": "tunes: the strength is searched on these",
    "validate": "validates: the strength found has to hold on these too",
    "report": "scores: used for this report and for nothing else",
}
RUNGS = {
    "name": "by name",
    "synonyms": "by synonyms",
    "compositions": "in compositions",
    "grown": "by grown prompts",
    "inversion": "by found embeddings",
    "attack": "by a word learned against the model",
    "weaker": "by a word learned against a part of the edit",
    "states": "by a whole prompt learned against the model",
    "ascent": "by the worst input of a search along the sphere",
    "anywhere": "by inputs at random",
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
    """The kind of input in words; one that has none is an attack, called by its label."""
    return RUNGS.get(name, f"by the attack {name}")


def plural(axis: str) -> str:
    """An axis of the judge as a heading: `object` -> `Objects`."""
    return f"{axis[:1].upper()}{axis[1:]}s"


def figure_of(axis: str) -> str:
    """The name of the figure of an axis, which is a file's as well."""
    return f"control_{slug(axis)}"


def spoken_axes(axes: Iterable[str]) -> str:
    """What was counted of the retain set: `object and style`."""
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
    """A value of `search_strength` as it was used, that is, the default where params.yaml leaves it out."""
    section = facts.params.get("search_strength") or {}
    return section.get(name, Strength.model_fields[name].default)


def found(facts: Facts, concept: str, name: str) -> Mapping[str, Any] | None:
    """What is known of the embedding called `name`; two concepts may use the same name."""
    known = [item for item in facts.inversions.get("found", ()) if item["name"] == name]
    return next((item for item in known if item["concept"] == concept), None)


def label(facts: Facts, row: Mapping[str, Any]) -> str:
    """What a row of the summary is about: its prompts, or its bin of similarity if it is an embedding."""
    item = found(facts, row["concept"], row["input"]) if row["kind"] == "inversion" else None
    if item is None:
        return f"{spoken_kind(row['kind'])}, {row['input']}"
    rows = [r["input"] for r in facts.summary["rows"] if r["concept"] == row["concept"] and r["kind"] == "inversion"]
    known = [found(facts, row["concept"], name) for name in rows]
    mates = [k["name"] for k in known if k and (k["low"], k["high"]) == (item["low"], item["high"])]
    number = f" ({mates.index(item['name']) + 1})" if len(mates) > 1 else ""
    return f"embedding, cosine {cosines(item['low'], item['high'])}{number}"


def applied(facts: Facts) -> float | None:
    """The strength of the erased model, which a person may have set by hand."""
    alpha = facts.metrics.get("alpha", facts.strength.get("alpha"))
    return None if alpha is None else float(alpha)
