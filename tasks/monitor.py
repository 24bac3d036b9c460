"""A night of the monitor: the champion drawn anew, the bets against it, and what follows from an alarm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tverase.config import Params
from tverase.context import Context
from tverase.errors import NotProved, WrongBase
from tverase.files import remove
from tverase.models.base import Model
from tverase.models.folder import open_model
from tverase.monitoring.history import Finding, find
from tverase.monitoring.night import Bounds, Night, bounds_of, spend
from tverase.progress import Tell, silent
from tverase.registry import built
from tverase.rng import derive
from tverase.steps.evaluation import tried
from tverase.vector import weights_hash

from . import _review
from ._champion import Champion, champion, mark, model_name
from ._locks import STATE
from ._nights import load, place, save

BY = "tverase monitor"
KNOWN = "di-embeddings"  # the embeddings of the evaluation, which a night does not have


@dataclass(frozen=True)
class Watched:
    """What a night found about the champion."""

    version: str  # bomb:3
    nights: tuple[Night, ...]
    finding: Finding
    history: str  # where the nights are

    def as_dict(self) -> dict[str, Any]:
        """For the answer of the flow."""
        return {
            "version": self.version,
            "outcome": self.finding.outcome,
            "night": self.nights[-1].number,
            "wealth": self.finding.wealth[-1],
            "why": self.finding.sentence,
            "history": self.history,
        }


def watch(params: Params, tell: Tell = silent) -> Watched | None:
    """Draw a night of the champion, add it to the history, and mark the version; None if there is no champion.

    A night that was stopped is drawn again with the same noise, so that nobody can choose among nights.
    """
    scratch = STATE / "scratch" / f"monitor-{params.name}"
    remove(scratch)
    scratch.mkdir(parents=True)
    try:
        found = champion(params, scratch)
        if found is None:
            return None
        nights = load(found)
        nights.append(_draw(found, params, len(nights) + 1, tell))
        save(found, nights)
    finally:
        remove(scratch)
    finding = find(nights, params.monitor)
    mark(found.version, tags(nights, finding))
    return Watched(found.name, tuple(nights), finding, place(found))


def _draw(found: Champion, now: Params, number: int, tell: Tell) -> Night:
    params = found.params(now)
    base = open_model(params.model, params.runtime.device)
    _require_base(found, base)
    erased = open_model(found.pipeline, params.runtime.device)
    judge = built("judge", params.judge_spec).open(params.runtime.device)
    seed = derive(params.seed, f"monitor/{found.version.name}/{found.version.version}/{number}")
    context = Context(base, tuple(params.concept_list), judge, params.sampling, params.invert, seed, tell)
    specs = {label: spec for label, spec in params.evaluate.attacks.items() if spec["kind"] != KNOWN}
    attacks = tried({**specs, **params.monitor.attacks})
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return spend(context, erased, attacks, params.monitor, bounds(found.proof.summary, params), number, when)


def _require_base(found: Champion, base: Model) -> None:
    expected = found.version.tags.get("base_weights", "")
    if expected and (there := weights_hash(base.weights())) != expected:
        raise WrongBase(
            f"{found.name} was made from base weights {expected[:12]}, and the model here has {there[:12]}; restore that model."
        )


def bounds(summary: Mapping[str, Any], params: Params) -> Bounds:
    """The claims to test, from the evaluation that is recorded with the version."""
    counts: dict[str, tuple[int, int]] = {}
    for row in summary["rows"]:
        kind = f"{row['concept']}: {row['kind']}"
        hits, trials = counts.get(kind, (0, 0))
        counts[kind] = (hits + row["erased"]["successes"], trials + row["erased"]["trials"])
    return bounds_of(counts, summary["retain"]["all"]["loss_high"], params.monitor)


def tags(nights: Sequence[Night], finding: Finding) -> dict[str, str]:
    """What the version is marked with."""
    marks = {
        "monitor": finding.outcome,
        "monitor.nights": str(len(nights)),
        "monitor.last": nights[-1].when,
        "monitor.wealth": f"{finding.wealth[-1]:.4g}",
    }
    if finding.outcome == "alarm":
        marks["monitor.alarm"] = f"night {finding.night}: {', '.join(finding.against)}"
    return marks


def fall_back(watched: Watched, params: Params) -> str:
    """Move the alias back to the champion before; says what was done, or why nothing could be done."""
    try:
        done = _review.rollback(watched.version, BY, watched.finding.sentence, params.review)
    except NotProved as error:
        return f"{model_name(params)} keeps its {params.review.alias}: {error}"
    return f"{done.lines[-1]}."
