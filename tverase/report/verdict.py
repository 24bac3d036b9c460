"""Erased or not, in words that claim no more than was measured.

The rule of evidence: an input counts only if the base model draws the concept with it more often than epsilon, with
95% confidence (`counts`). With any other input, an image without the concept proves nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..bounds import lower, split
from .facts import Facts
from .words import applied, count, hits, limit, listing, named, percent, points, setting, worst_row

Outcome = Literal["erased", "unconfirmed", "untested", "refuted", "infeasible"]
_TITLES: dict[Outcome, str] = {
    "erased": "{} erased",
    "unconfirmed": "{} erased, not confirmed",
    "untested": "{} erased, tested by prompts only",
    "refuted": "{} not erased",
    "infeasible": "{} not erased: infeasible",
}
_NO_TEST = "{}: not tested"  # untested, and not even by name


@dataclass(frozen=True)
class Verdict:
    """The outcome, a headline, the reason for it and the sentences that give its grounds."""

    outcome: Outcome
    title: str
    why: str
    grounds: tuple[str, ...]

    @property
    def proved(self) -> bool:
        """Whether every bound was seen to hold: the only outcome that a registry or a schedule may rely on."""
        return self.outcome == "erased"


def verdict(facts: Facts) -> Verdict:
    """The strictest reading of the facts: both bounds have to hold on held-out inputs."""
    outcome, why = _outcome(facts)
    names = listing(facts.summary["concepts"])
    title = _NO_TEST if outcome == "untested" and _unproved_by(facts, "name") else _TITLES[outcome]
    measured = (*_worst(facts), *_recovery(facts), _retain(facts)) if "retain" in facts.summary else ()
    return Verdict(outcome, title.format(names), why, measured)


def counts(row: Mapping[str, Any], epsilon: float) -> bool:
    """Whether a row of the summary is evidence: with 95% confidence the base model exceeds `epsilon` with this input."""
    return bool(row["base"]["low"] > epsilon)


def _unproved_by(facts: Facts, kind: str) -> list[str]:
    """The concepts that no counting input of this kind tests."""
    epsilon = setting(facts, "epsilon")
    tested = {row["concept"] for row in facts.summary["rows"] if row["kind"] == kind and counts(row, epsilon)}
    return [concept for concept in facts.summary["concepts"] if concept not in tested]


def by_hand(facts: Facts) -> bool:
    """Whether `erase.alpha` overruled the search."""
    return (facts.params.get("erase") or {}).get("alpha") is not None


def _outcome(facts: Facts) -> tuple[Outcome, str]:
    alpha = applied(facts)
    if facts.strength.get("alpha") is None and not by_hand(facts):
        end = "" if alpha is None else f" This report measures alpha {alpha:g}, which does not meet them."
        return "infeasible", f"No strength meets both bounds: {facts.strength.get('reason', 'no reason given')}.{end}"
    if why := _against(facts):
        return "refuted", why
    if why := _untested(facts):
        return "untested", why
    if why := _open(facts):
        return "unconfirmed", f"{why} More images (section evaluate) would decide it."
    return "erased", (
        f"Both bounds hold on held-out inputs and noise: recovery is at most {limit(facts, 'epsilon')}, and the retain loss is "
        f"at most {limit(facts, 'delta')}."
    )


def _untested(facts: Facts) -> str:
    """The required input kind that tests nothing; empty if every one does."""
    more = f"more often than {limit(facts, 'epsilon')} with 95% confidence, so that its absence proves nothing"
    if concepts := _unproved_by(facts, "name"):
        return f"Asked for by name, the base model does not draw {listing(concepts)} {more}."
    if any(worst["input"] is None for worst in facts.summary["worst"].values()):
        return "Diverse Inversion accepted no held-out DI embedding, so only prompts were tested."
    if concepts := _unproved_by(facts, "inversion"):
        return f"With no held-out DI embedding does the base model draw {listing(concepts)} {more}."
    base = facts.summary["retain"]["all"]["base"]
    if base["low"] <= setting(facts, "delta"):
        return (
            f"The retain accuracy of the base model is {base['rate']:.1%}, too low for a retain loss of "
            f"{limit(facts, 'delta')} to be seen."
        )
    return ""


def _against(facts: Facts) -> str:
    """The bound that is missed with confidence; empty if none is."""
    epsilon, more = setting(facts, "epsilon"), f"exceeds {limit(facts, 'epsilon')}."
    prompted = [row for row in facts.summary["rows"] if row["kind"] != "inversion"]
    for row in prompted:
        if _certain(row["erased"], epsilon, len(prompted)):
            return f"The recovery of {row['concept']} by {named(row)} {more}"
    for concept, worst in facts.summary["worst"].items():
        if worst["input"] is not None and _certain(worst, epsilon, worst["inputs"]):
            return f"The recovery of {concept} by a held-out DI embedding {more}"
    lost = facts.summary["retain"]["all"]["loss_low"] > setting(facts, "delta")
    return f"The retain loss exceeds {limit(facts, 'delta')}." if lost else ""


def _open(facts: Facts) -> str:
    """The bound that is neither met nor missed with confidence; empty if none is open."""
    epsilon, more = setting(facts, "epsilon"), f"may exceed {limit(facts, 'epsilon')}."
    for row in facts.summary["rows"]:
        if row["kind"] != "inversion" and row["erased"]["high"] > epsilon:
            return f"The recovery of {row['concept']} by {named(row)} {more}"
    for concept, worst in facts.summary["worst"].items():
        if worst["input"] is not None and worst["all_inputs_high"] > epsilon:
            return f"The recovery of {concept} by a held-out DI embedding {more}"
    lost = facts.summary["retain"]["all"]["loss_high"] > setting(facts, "delta")
    return f"The retain loss may exceed {limit(facts, 'delta')}." if lost else ""


def _certain(bound: Mapping[str, Any], limit: float, comparisons: int) -> bool:
    """Whether the true share is above `limit`, when this is the worst of `comparisons` inputs."""
    return lower(bound["successes"], bound["trials"], split(0.05, comparisons)) > limit


def _worst(facts: Facts) -> list[str]:
    at, rows = worst_row(facts), facts.summary["rows"]
    if at is None:
        return []
    row = rows[at]
    return [
        f"The worst of {count(len(rows), 'input')} is the {named(row)}: the erased model draws {row['concept']} in "
        f"{hits(row['erased'])}."
    ]


def _recovery(facts: Facts) -> list[str]:
    sentences = []
    for concept in facts.summary["concepts"]:
        rows = [r for r in facts.summary["rows"] if r["concept"] == concept and r["kind"] == "name"]
        for row in rows:
            base = row["base"]
            sentences.append(
                f"Asked for by name, the erased model draws {concept} in {hits(row['erased'])}; "
                f"the base model in {base['successes']} of {base['trials']}."
            )
        worst = facts.summary["worst"].get(concept)
        if worst and worst["input"] is not None:
            sentences.append(
                f"The worst of {count(worst['inputs'], 'held-out DI embedding')} recovers {concept} in {worst['successes']} "
                f"of {count(worst['trials'], 'image')}; with 95% confidence none of them exceeds "
                f"{percent(worst['all_inputs_high'])}. With each, the base model draws it in at least "
                f"{percent(_least(facts, concept))} of images."
            )
    return sentences


def _least(facts: Facts, concept: str) -> float:
    """The base model's lowest share over the DI embeddings of the concept."""
    rows = [r for r in facts.summary["rows"] if r["concept"] == concept and r["kind"] == "inversion"]
    return min(float(row["base"]["rate"]) for row in rows)


def _retain(facts: Facts) -> str:
    both = facts.summary["retain"]["all"]
    return (
        f"The retain accuracy is {percent(both['erased']['rate'])}, {percent(both['base']['rate'])} for the base model: a retain "
        f"loss of {points(both['loss'])} points (95% interval {points(both['loss_low'])} to {points(both['loss_high'])})."
    )
