"""Two versions side by side: parameters, figures with their intervals, and hashes."""

from collections.abc import Iterator, Mapping
from typing import Any

from tverase.report.words import interval, percent, points, spoken_kind

from . import _review
from ._records import params as flat
from ._review_facts import Evidence, short
from ._review_page import figures

NOTHING = "-"
HASHES = ("erased.sha256", "evaluation.sha256", "params.sha256", "lineage.sha256", "base_weights", "git.commit")
Pairs = dict[str, list[str]]


def difference(one: str, other: str) -> dict[str, Any]:
    """Parameters and hashes that differ, and every figure of either version."""
    (first, before), (second, after) = _review.proofs(one, other)
    parameters = _both(flat(before.params), flat(after.params))
    hashes = _both(*({name: version.tags.get(name, NOTHING) for name in HASHES} for version in (first, second)))
    return {
        "versions": [short(first), short(second)],
        "parameters": _unequal(parameters),
        "figures": _both(dict(_figures(before)), dict(_figures(after))),
        "hashes": _unequal(hashes),
        "problems": [proof.problem for proof in (before, after) if proof.problem],
    }


def _both(one: Mapping[str, str], other: Mapping[str, str]) -> Pairs:
    return {name: [one.get(name, NOTHING), other.get(name, NOTHING)] for name in dict.fromkeys([*one, *other])}


def _unequal(pairs: Pairs) -> Pairs:
    return {name: both for name, both in pairs.items() if both[0] != both[1]}


def _figures(proof: Evidence) -> Iterator[tuple[str, str]]:
    if not proof.summary:
        return
    found, retain = figures(proof.summary), proof.summary["retain"]["all"]
    yield "verdict", str(proof.verdict.get("outcome", NOTHING))
    yield "recovery, upper bound over all inputs", percent(found.worst_upper)
    loss = f"{points(found.retain_loss)} points ({points(found.retain_lower)} to {points(found.retain_upper)})"
    yield "retain loss", loss
    yield "retain accuracy", f"{percent(retain['erased']['rate'])} ({interval(retain['erased'])})"
    for row in proof.summary["rows"]:
        erased = row["erased"]
        counted = f"{erased['successes']} of {erased['trials']} ({interval(erased)})"
        yield f"{row['concept']}: {spoken_kind(row['kind'])} {row['input']}", counted
