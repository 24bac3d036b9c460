"""Erased or not, in words that say no more than was measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..bounds import lower, split
from .facts import Facts
from .words import applied, count, interval, limit, listing, percent, points, rung, setting

Outcome = Literal["erased", "unconfirmed", "untested", "refuted", "infeasible"]
_TITLES: dict[Outcome, str] = {
    "erased": "{} erased",
    "unconfirmed": "{} erased, not confirmed",
    "untested": "{} erased, tested by prompts only",
    "refuted": "{} not erased",
    "infeasible": "{} not erased: infeasible",
}


@dataclass(frozen=True)
class Verdict:
    """The outcome, a headline, the reason for it and the sentences that give its grounds."""

    outcome: Outcome
    title: str
    why: str
    grounds: tuple[str, ...]


def verdict(facts: Facts) -> Verdict:
    """The strictest reading of the facts: what the search promised has to be seen on inputs that it never saw."""
    outcome, why = _outcome(facts)
    names = listing(facts.summary["concepts"])
    return Verdict(outcome, _TITLES[outcome].format(names), why, (*_recovery(facts), _control(facts)))


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
    if any(worst["input"] is None for worst in facts.summary["worst"].values()):
        return "untested", "No embedding outside the prompts was accepted, so only prompts were tested."
    if why := _open(facts):
        return "unconfirmed", f"{why} More images (section evaluate) would decide it."
    return "erased", (
        "On inputs and noise that tuned nothing, every bound holds: "
        f"recovery is at most {limit(facts, 'epsilon')}, and everything else loses at most {limit(facts, 'delta')}."
    )


def _against(facts: Facts) -> str:
    """What the numbers rule out with confidence, or nothing."""
    epsilon, more = setting(facts, "epsilon"), f"back more often than {limit(facts, 'epsilon')}."
    prompted = [row for row in facts.summary["rows"] if row["rung"] != "inversion"]
    for row in prompted:
        if _certain(row["erased"], epsilon, len(prompted)):
            return f"Asked for {rung(row['rung'])}, {row['concept']} comes {more}"
    for concept, worst in facts.summary["worst"].items():
        if worst["input"] is not None and _certain(worst, epsilon, worst["inputs"]):
            return f"A held-back embedding brings {concept} {more}"
    lost = facts.summary["control"]["all"]["loss_low"] > setting(facts, "delta")
    return f"Unrelated prompts lose more than {limit(facts, 'delta')}." if lost else ""


def _open(facts: Facts) -> str:
    """What the numbers neither show nor rule out, or nothing."""
    epsilon, more = setting(facts, "epsilon"), f"back more often than {limit(facts, 'epsilon')}."
    for row in facts.summary["rows"]:
        if row["rung"] != "inversion" and row["erased"]["high"] > epsilon:
            return f"Asked for {rung(row['rung'])}, {row['concept']} may come {more}"
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
        rows = [r for r in facts.summary["rows"] if r["concept"] == concept and r["rung"] == "name"]
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
                f"Of {count(worst['inputs'], 'held-back embedding')} with which the base model draws it, the worst "
                f"brings {concept} back in {worst['successes']} of {count(worst['trials'], 'image')}; with 95% "
                f"confidence none of them exceeds {percent(worst['all_inputs_high'])}."
            )
    return sentences


def _control(facts: Facts) -> str:
    both = facts.summary["control"]["all"]
    return (
        f"Unrelated prompts are drawn rightly in {percent(both['erased']['rate'])} of images, before in "
        f"{percent(both['base']['rate'])}: a loss of {points(both['loss'])} points "
        f"(95% interval {points(both['loss_low'])} to {points(both['loss_high'])})."
    )
