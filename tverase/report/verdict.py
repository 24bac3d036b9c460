"""Erased or not, in words that say no more than was measured.

The rule of evidence: an input counts only if the base model draws the concept with it more often than epsilon, with
95% confidence (`counts`). Of any other input the erased model's silence proves nothing: the base model is as silent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..bounds import lower, split
from .facts import Facts
from .words import applied, count, interval, limit, listing, percent, points, setting, spoken_kind

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
    """The strictest reading of the facts: what the search promised has to be seen on inputs that it never saw."""
    outcome, why = _outcome(facts)
    names = listing(facts.summary["concepts"])
    title = _NO_TEST if outcome == "untested" and _unproved_by(facts, "name") else _TITLES[outcome]
    measured = (*_recovery(facts), _control(facts)) if "control" in facts.summary else ()
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
        end = "" if alpha is None else f" What follows was measured at alpha {alpha:g}, which is no solution."
        return "infeasible", f"No strength meets both bounds: {facts.strength.get('reason', 'no reason given')}.{end}"
    if why := _against(facts):
        return "refuted", why
    if why := _untested(facts):
        return "untested", why
    if why := _open(facts):
        return "unconfirmed", f"{why} More images (section evaluate) would decide it."
    return "erased", (
        "On inputs and noise that tuned nothing, every bound holds: "
        f"recovery is at most {limit(facts, 'epsilon')}, and everything else loses at most {limit(facts, 'delta')}."
    )


def _untested(facts: Facts) -> str:
    """Which required kind of input tests nothing, or nothing."""
    more = f"more often than {limit(facts, 'epsilon')} with 95% confidence, so that its absence proves nothing"
    if concepts := _unproved_by(facts, "name"):
        return f"Asked for by name, the base model itself is not seen to draw {listing(concepts)} {more}."
    if any(worst["input"] is None for worst in facts.summary["worst"].values()):
        return "No embedding outside the prompts was accepted, so only prompts were tested."
    if concepts := _unproved_by(facts, "inversion"):
        return f"With no held-back embedding is the base model itself seen to draw {listing(concepts)} {more}."
    base = facts.summary["control"]["all"]["base"]
    if base["low"] <= setting(facts, "delta"):
        return (
            f"The base model itself draws unrelated prompts rightly in {base['rate']:.1%} of images, too rarely for a loss of "
            f"{limit(facts, 'delta')} to be seen."
        )
    return ""


def _against(facts: Facts) -> str:
    """What the numbers rule out with confidence, or nothing."""
    epsilon, more = setting(facts, "epsilon"), f"back more often than {limit(facts, 'epsilon')}."
    prompted = [row for row in facts.summary["rows"] if row["kind"] != "inversion"]
    for row in prompted:
        if _certain(row["erased"], epsilon, len(prompted)):
            return f"Asked for {spoken_kind(row['kind'])}, {row['concept']} comes {more}"
    for concept, worst in facts.summary["worst"].items():
        if worst["input"] is not None and _certain(worst, epsilon, worst["inputs"]):
            return f"A held-back embedding brings {concept} {more}"
    lost = facts.summary["control"]["all"]["loss_low"] > setting(facts, "delta")
    return f"Unrelated prompts lose more than {limit(facts, 'delta')}." if lost else ""


def _open(facts: Facts) -> str:
    """What the numbers neither show nor rule out, or nothing."""
    epsilon, more = setting(facts, "epsilon"), f"back more often than {limit(facts, 'epsilon')}."
    for row in facts.summary["rows"]:
        if row["kind"] != "inversion" and row["erased"]["high"] > epsilon:
            return f"Asked for {spoken_kind(row['kind'])}, {row['concept']} may come {more}"
    for concept, worst in facts.summary["worst"].items():
        if worst["input"] is not None and worst["all_inputs_high"] > epsilon:
            return f"A held-back embedding may bring {concept} {more}"
    lost = facts.summary["control"]["all"]["loss_high"] > setting(facts, "delta")
    return f"Unrelated prompts may lose more than {limit(facts, 'delta')}." if lost else ""


def _certain(bound: Mapping[str, Any], limit: float, comparisons: int) -> bool:
    """Whether the true share is above `limit`, when this is the worst of `comparisons` inputs."""
    return lower(bound["successes"], bound["trials"], split(0.05, comparisons)) > limit


def _recovery(facts: Facts) -> list[str]:
    sentences = []
    for concept in facts.summary["concepts"]:
        rows = [r for r in facts.summary["rows"] if r["concept"] == concept and r["kind"] == "name"]
        for row in rows:
            base, erased = row["base"], row["erased"]
            sentences.append(
                f"Asked for by name, the erased model draws {concept} in {erased['successes']} of "
                f"{count(erased['trials'], 'image')} (95% interval {interval(erased)}); "
                f"the base model in {base['successes']} of {base['trials']}."
            )
        worst = facts.summary["worst"].get(concept)
        if worst and worst["input"] is not None:
            sentences.append(
                f"Of {count(worst['inputs'], 'held-back embedding')}, {_of_them(facts, concept)}, the worst "
                f"brings {concept} back in {worst['successes']} of {count(worst['trials'], 'image')}; with 95% "
                f"confidence none of them exceeds {percent(worst['all_inputs_high'])}."
            )
    return sentences


def _of_them(facts: Facts, concept: str) -> str:
    """How often the base model draws the concept with the embedding that suits it least."""
    rows = [r for r in facts.summary["rows"] if r["concept"] == concept and r["kind"] == "inversion"]
    least = min((row["base"] for row in rows), key=lambda base: float(base["rate"]))
    return f"with each of which the base model draws it in at least {percent(least['rate'])} of images"


def _control(facts: Facts) -> str:
    both = facts.summary["control"]["all"]
    return (
        f"Unrelated prompts are drawn rightly in {percent(both['erased']['rate'])} of images, before in "
        f"{percent(both['base']['rate'])}: a loss of {points(both['loss'])} points "
        f"(95% interval {points(both['loss_low'])} to {points(both['loss_high'])})."
    )
