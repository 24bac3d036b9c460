"""All nights of a version together, and what they say: sound, alarm, or blind."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .betting import Bets, Purse, loss_bets, rate_bets, reached
from .night import Night
from .settings import Monitor

TOGETHER, RETAIN = "all kinds together", "retain loss"
SHARE = 1 / 3  # of the money: on all kinds together, on the kinds one by one, on the retain loss
Outcome = Literal["sound", "alarm", "blind"]


@dataclass(frozen=True)
class Finding:
    """What the nights say. wealth: after each night. night: the first one with an alarm. against: where the money was made."""

    outcome: Outcome
    wealth: tuple[float, ...]
    night: int | None
    against: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The outcome for people."""
        money = f"the wealth of the bets against this version is {self.wealth[-1]:.3g}"
        if self.outcome == "alarm":
            return f"Alarm in night {self.night}: {', '.join(self.against)} exceeds its bound; {money}."
        if self.outcome == "blind":
            return "The base model does not draw the concept with any input of this night, so that it proves nothing."
        return f"Sound after {len(self.wealth)} nights: {money}."


def outcome_bets(night: Night) -> dict[str, Bets]:
    """The bets of a night, by stream."""
    kinds = {name: rate_bets(drawn.successes, drawn.trials, drawn.bound) for name, drawn in night.kinds.items()}
    retain = loss_bets(night.retain.lost, night.retain.won, night.retain.pairs, night.retain.bound)
    found = {**kinds, RETAIN: retain}
    if kinds:
        found[TOGETHER] = np.sum(list(kinds.values()), axis=0)
    return found


def shares(kinds: Sequence[str]) -> dict[str, float]:
    """The money of a night on each stream: known before the night, because it depends on the names alone."""
    return {**{name: SHARE / len(kinds) for name in kinds}, TOGETHER: SHARE, RETAIN: SHARE}


def find(nights: Sequence[Night], settings: Monitor) -> Finding:
    """The outcome after these nights. A version that has raised an alarm keeps it."""
    purse, wealth, first, against = Purse(), list[float](), None, list[str]()
    for night in nights:
        purse.bet(outcome_bets(night), shares(list(night.kinds)))
        log_wealth = float(purse.log_wealth)
        wealth.append(math.exp(min(log_wealth, 700.0)))
        if first is None and reached(log_wealth, settings.error):
            first, against = night.number, list(_against(purse))
    blind = bool(nights) and not any(drawn.counts for drawn in nights[-1].kinds.values())
    outcome: Outcome = "alarm" if first is not None else "blind" if blind else "sound"
    return Finding(outcome, tuple(wealth), first, tuple(against))


def _against(purse: Purse) -> Iterator[str]:
    """The streams with at least a tenth of the money; the kinds one by one only if they say which."""
    total = float(purse.log_wealth)
    rich = [stream for stream in purse.logs if float(purse.on(stream)) > total + math.log(0.1)]
    kinds = [stream for stream in rich if stream != TOGETHER]
    yield from kinds or rich


def read(content: Mapping[str, Any]) -> list[Night]:
    """The nights of a history file, in their order."""
    return [Night.of(night) for night in content["nights"]]
