"""Intervals for shares of images, and how the error is split when many are compared."""

import math
from dataclasses import dataclass

from scipy.optimize import brentq
from scipy.stats import beta, norm

from .errors import ConfigError

AIM = 0.1  # the share, as a part of the bound, for which `sequential_upper` needs fewest images


@dataclass(frozen=True)
class Bound:
    """`successes` of `trials`, with the exact two-sided interval at `confidence` (Clopper & Pearson, 1934)."""

    successes: int
    trials: int
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 0 <= self.successes <= self.trials:
            raise ConfigError(f"{self.successes} successes of {self.trials} trials are impossible.")
        if not 0 < self.confidence < 1:
            raise ConfigError(f"the confidence is {self.confidence}; it has to lie between 0 and 1.")

    @property
    def rate(self) -> float:
        """The observed share; 0 without a trial."""
        return self.successes / self.trials if self.trials else 0.0

    @property
    def low(self) -> float:
        """Lower end of the two-sided interval."""
        return lower(self.successes, self.trials, (1 - self.confidence) / 2)

    @property
    def high(self) -> float:
        """Upper end of the two-sided interval."""
        return upper(self.successes, self.trials, (1 - self.confidence) / 2)

    def as_dict(self) -> dict[str, float | int]:
        """For JSON: rate, interval, counts."""
        ends = {"rate": round(self.rate, 4), "low": round(self.low, 4), "high": round(self.high, 4)}
        return {**ends, "successes": self.successes, "trials": self.trials}


def upper(successes: int, trials: int, error: float) -> float:
    """The one-sided upper bound that misses the true share with probability `error` at most."""
    return 1.0 if successes >= trials else float(beta.ppf(1 - error, successes + 1, trials - successes))


def sequential_upper(successes: int, trials: int, error: float) -> float:
    """The upper bound that may be looked at after every image: it ever misses the true share with probability `error` at most.

    A share q is rejected when the images are 1 / error times likelier under `AIM` * q. If the true share is q or more, the
    expected ratio does not rise, so it reaches this value with probability `error` at most (Ville, 1939). The test is that of
    Wald (1945, Annals of Mathematical Statistics 16:117). Interim analyses do not share the error.
    """
    if successes >= trials:
        return 1.0
    odds = (-math.log(error) - successes * math.log(AIM)) / (trials - successes)
    return -math.expm1(-odds) / (1 - AIM * math.exp(-odds))


def lower(successes: int, trials: int, error: float) -> float:
    """The one-sided lower bound that misses the true share with probability `error` at most."""
    return 0.0 if successes == 0 else float(beta.ppf(error, successes, trials - successes + 1))


def paired_difference(lost: int, won: int, pairs: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of a difference of two shares of the same pairs (Tango, 1998, Statistics in Medicine 17:891).

    lost, won: the pairs that only the first or only the second of the two gets right.
    """
    if not 0 <= min(lost, won) <= lost + won <= pairs:
        raise ConfigError(f"{lost} lost and {won} won of {pairs} pairs are impossible.")
    z = float(norm.ppf((1 + confidence) / 2))
    return _lowest(lost, won, pairs, z), -_lowest(won, lost, pairs, z)


def _lowest(lost: int, won: int, pairs: int, z: float) -> float:
    """The smallest difference that the score test does not reject at `z`."""
    if won == pairs:
        return -1.0

    def excess(delta: float) -> float:
        linear = (2 * pairs - lost + won) * delta - lost - won
        # The likeliest share of won pairs if the difference is delta.
        share = (math.sqrt(max(linear**2 + 8 * pairs * won * delta * (1 - delta), 0.0)) - linear) / (4 * pairs)
        variance = pairs * (2 * share + delta * (1 - delta))
        return lost - won - pairs * delta - z * math.sqrt(max(variance, 0.0))

    return float(brentq(excess, -1.0, (lost - won) / pairs - 1e-9))


def split(error: float, comparisons: int) -> float:
    """The error that each of `comparisons` bounds may have so that all hold together (Bonferroni)."""
    if comparisons < 1:
        raise ConfigError(f"the error cannot be split over {comparisons} comparisons.")
    return error / comparisons


def worst(bounds: dict[str, Bound], error: float = 0.05) -> tuple[str, Bound, float]:
    """The input with the highest rate, its bound, and what no input exceeds, but with probability `error`.

    The largest upper bound misses the largest true share only if the bound of that very input misses. So the error is not
    split over the inputs (the intersection-union test; Berger, 1982, Technometrics 24:295).
    """
    if not bounds:
        raise ConfigError("there are no inputs to take the worst of.")
    name = max(bounds, key=lambda key: bounds[key].rate)
    return name, bounds[name], max(upper(b.successes, b.trials, error) for b in bounds.values())
