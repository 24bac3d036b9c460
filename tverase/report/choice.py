"""The strength and the hardening as the page shows them."""

from collections.abc import Mapping
from typing import Any

from .facts import Facts
from .words import applied, count, percent, spoken

Values = dict[str, Any]


def choice(facts: Facts) -> Values:
    """The strengths that were explored and tested, the chosen one, and what it costs."""
    strength = facts.strength
    reason = (strength.get("reason") or "no reason given").rstrip(".")
    below = strength.get("below")
    if below and below["why"] not in reason:
        reason += f". The strength just below, alpha {below['alpha']:g}, fails: {below['why'].rstrip('.')}"
    return {
        "alpha": strength.get("alpha"),
        "applied": applied(facts),
        "reason": reason,
        "explored": [{**one, **_worst(one["counts"])} for one in strength.get("explored") or ()],
        "tested": [
            {**one, "upper": percent(one["upper"]), **_worst(one["counts"], one["worst"])}
            for one in strength.get("tested") or ()
        ],
        "frontier": [
            {
                "alpha": one["alpha"],
                **{key: spoken(one[key]) if one.get(key) else None for key in ("name", "worst", "retain")},
            }
            for one in strength.get("frontier") or ()
        ],
        "drawn": count(strength.get("images") or 0, "image"),
    }


def _worst(counts: Mapping[str, Any], name: str | None = None) -> Values:
    """The input called `name`, or the one that recovers the concept most often."""
    name = name or max(counts, key=lambda key: counts[key][0] / max(1, counts[key][1]))
    return {"worst": name, "hits": counts[name][0], "drawn": counts[name][1]}


def hardening(facts: Facts) -> Values:
    """The rounds, and in a sentence whether hardening was used."""
    rounds = list(facts.hardening.get("rounds") or ())
    return {"said": _said(facts.hardening, len(rounds)), "rounds": [_round(one) for one in rounds]}


def _said(hardening: Mapping[str, Any], rounds: int) -> str:
    if not rounds:
        return "The vector was not hardened."
    end = "no adversarial embedding of the last round recovers the concept"
    if not hardening.get("clean"):
        end = "adversarial embeddings of the last round still recover the concept"
    return f"The vector was hardened in {count(rounds, 'round')} with teacher strength {hardening['teacher']:g}; {end}."


def _round(one: Mapping[str, Any]) -> Values:
    found = one["found"]
    hits, images = (sum(each[key] for each in found) for key in ("hits", "images"))
    seen = {"inputs": len(found), "hits": hits, "images": images}
    return {
        "round": one["round"],
        "loss": one["loss"],
        "clean": one["clean"],
        "share": percent(one["recovered"]),
        **seen,
    }
