"""A sequential test over nights: bets against the claim that a version is as sound as its record says.

A bet is a game that is fair or worse if the claim is true. So the wealth of whoever bets is a nonnegative supermartingale,
and it ever reaches 1 / error with probability `error` at most, however often one looks (Ville, 1939, Etude critique de la
notion de collectif). An alarm at 1 / error has this false rate over all nights together. Testing by betting: Waudby-Smith
and Ramdas, 2024, arXiv:2010.09686; e-values and their means: Vovk and Wang, 2021, arXiv:1912.06116.

The money is split before the first image: over the input kinds, over several sizes of a leak, and over the night in which a
leak begins. So the test finds a leak of any size that begins in any night. The split over beginnings is that of Shin, Ramdas
and Rinaldo (2023, arXiv:2203.03532), here with weights that sum to one, which keeps the error over all nights.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Bets = NDArray[np.float64]  # (J, ...): the log of what one unit becomes, for each size of a leak
SIZES = (2.0, 5.0, 20.0)  # odds of a recovery, as multiples of those at the bound
STAKES = (0.1, 0.3, 0.6)  # of the largest bet that cannot lose everything


def rate_bets(successes: NDArray[np.int64] | int, trials: NDArray[np.int64] | int, bound: float) -> Bets:
    """Bets that more than `bound` of the images show the concept, after a night with `successes` of `trials`.

    Each is the likelihood ratio of a larger rate, which is 1 + b (x - bound) for an image x of 0 or 1. Its mean is at most 1
    if the rate is at most `bound`, whatever the earlier images were.
    """
    odds = np.array([size * bound / (1 - bound) for size in SIZES])
    larger = odds / (1 + odds)
    won, lost = np.log(larger / bound), np.log((1 - larger) / (1 - bound))
    hits = np.asarray(successes, dtype=float)
    misses = np.asarray(trials, dtype=float) - hits
    found: Bets = np.multiply.outer(won, hits) + np.multiply.outer(lost, misses)
    return found


def loss_bets(lost: NDArray[np.int64] | int, won: NDArray[np.int64] | int, pairs: int, bound: float) -> Bets:
    """Bets that the retain loss exceeds `bound`, after a night with `lost` and `won` of `pairs` prompts.

    A pair is y = 1 if only the base model keeps it, -1 if only the erased model does, and 0 otherwise. The bet 1 + b (y - bound)
    has a mean of at most 1 if the mean of y is at most `bound`.
    """
    b = np.array(STAKES) / (1 + bound)
    worse, better, same = (np.log1p(b * (y - bound)) for y in (1.0, -1.0, 0.0))
    down, up = np.asarray(lost, dtype=float), np.asarray(won, dtype=float)
    equal = pairs - down - up
    found: Bets = np.multiply.outer(worse, down) + np.multiply.outer(better, up) + np.multiply.outer(same, equal)
    return found


class Purse:
    """The wealth of one bettor on several streams; it begins with 1."""

    def __init__(self) -> None:
        self.nights = 0
        self.logs: dict[str, Bets] = {}  # of the money that is on each stream, for each size of a leak

    def bet(self, bets: Mapping[str, Bets], shares: Mapping[str, float]) -> None:
        """A night. shares: of the night's new money, for each stream; they sum to 1 at most and are chosen before the night.

        Money that is on a stream stays there. Streams that a night does not draw keep what they have.
        """
        self.nights += 1
        fresh = 1 / (self.nights * (self.nights + 1))  # the sum over all nights is 1
        for stream, outcome in bets.items():
            stake = math.log(fresh * shares[stream] / len(outcome))
            there = self.logs.get(stream, np.full_like(outcome, -np.inf))
            self.logs[stream] = np.logaddexp(there, stake) + outcome

    def on(self, stream: str) -> Bets:
        """The log of the money on a stream."""
        found: Bets = np.logaddexp.reduce(self.logs[stream], axis=0)
        return found

    @property
    def log_wealth(self) -> Bets:
        """The log of all that is on streams, and of what no night has staked yet."""
        total: Bets = np.array(math.log(1 / (self.nights + 1)))
        for stream in self.logs:
            total = np.logaddexp(total, self.on(stream))
        return total


def reached(log_wealth: float, error: float) -> bool:
    """Whether a wealth is an alarm."""
    return log_wealth >= -math.log(error)
