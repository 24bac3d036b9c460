"""Exact bounds: they agree with SciPy, and they cover."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest, multinomial

from tverase.bounds import Bound, lower, paired_difference, sequential_upper, split, upper, worst
from tverase.errors import ConfigError

CASES = [(0, 1), (1, 1), (0, 10), (3, 10), (10, 10), (1, 64), (17, 64), (63, 64), (5, 320), (300, 320)]


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
@pytest.mark.parametrize(("successes", "trials"), CASES)
def test_interval_is_scipys(successes: int, trials: int, confidence: float) -> None:
    bound = Bound(successes, trials, confidence)
    expected = binomtest(successes, trials).proportion_ci(confidence, method="exact")
    assert (bound.low, bound.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize(("successes", "trials"), CASES)
def test_one_sided_bounds_are_scipys(successes: int, trials: int) -> None:
    for error in (0.2, 0.05, 1e-4):
        high = binomtest(successes, trials, alternative="less").proportion_ci(1 - error, method="exact").high
        low = binomtest(successes, trials, alternative="greater").proportion_ci(1 - error, method="exact").low
        assert upper(successes, trials, error) == pytest.approx(high, abs=1e-9)
        assert lower(successes, trials, error) == pytest.approx(low, abs=1e-9)


@pytest.mark.parametrize("trials", [1, 5, 16, 53])
def test_intervals_cover(trials: int) -> None:
    """Every outcome is enumerated: those whose interval holds p have together at least the promised probability."""
    outcomes = np.arange(trials + 1)
    for confidence in (0.8, 0.95):
        bounds = [Bound(int(k), trials, confidence) for k in outcomes]
        low, high = np.array([b.low for b in bounds]), np.array([b.high for b in bounds])
        for p in np.linspace(0.005, 0.995, 67):
            covered = (low <= p) & (p <= high)
            assert binom.pmf(outcomes[covered], trials, p).sum() >= confidence - 1e-12


@pytest.mark.parametrize("trials", [4, 16, 64])
def test_one_sided_bounds_cover(trials: int) -> None:
    outcomes, error = np.arange(trials + 1), 0.05
    high = np.array([upper(int(k), trials, error) for k in outcomes])
    low = np.array([lower(int(k), trials, error) for k in outcomes])
    for p in np.linspace(0.005, 0.995, 67):
        assert binom.pmf(outcomes[high >= p], trials, p).sum() >= 1 - error - 1e-12
        assert binom.pmf(outcomes[low <= p], trials, p).sum() >= 1 - error - 1e-12


@pytest.mark.parametrize("error", [0.05, 0.002])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.12, 0.5])
def test_a_sequential_bound_holds_at_every_look(share: float, error: float) -> None:
    """Looked at after each of 400 images, by everyone who stops as soon as it lies below the true share: exactly added up."""
    going, missed = np.ones(1), 0.0  # the chance of each count of successes, of those who have not stopped
    for trials in range(1, 401):
        going = np.append(going * (1 - share), 0.0) + np.append(0.0, going * share)
        below = np.array([sequential_upper(k, trials, error) < share for k in range(trials + 1)])
        missed += going[below].sum()
        going[below] = 0.0
    assert 0 < missed <= error
    assert missed > error / 5 or share > 0.2  # and it wastes little


def test_a_fixed_bound_does_not_hold_at_every_look() -> None:
    """Which is why it would have to share its error over the looks."""
    going, missed, share = np.ones(1), 0.0, 0.12
    for trials in range(1, 401):
        going = np.append(going * (1 - share), 0.0) + np.append(0.0, going * share)
        below = np.array([upper(k, trials, 0.05) < share for k in range(trials + 1)])
        missed += going[below].sum()
        going[below] = 0.0
    assert missed > 2 * 0.05


@pytest.mark.parametrize("error", [0.05, 0.002])
def test_a_sequential_bound_falls_with_images_and_rises_with_successes(error: float) -> None:
    for trials in (1, 20, 200):
        by_count = [sequential_upper(k, trials, error) for k in range(trials + 1)]
        assert by_count == sorted(by_count)
        assert (by_count[0] > 0, by_count[-1]) == (True, 1.0)
        assert all(sequential_upper(k, 2 * trials, error) < bound for k, bound in enumerate(by_count))
        assert all(bound > upper(k, trials, error) for k, bound in enumerate(by_count[:-1]))


def test_a_sequential_bound_needs_fewer_images_than_a_fixed_one_for_many_looks() -> None:
    """Without a success, of nine looks."""
    epsilon, error = 0.12, 0.002
    first = [
        next(n for n in range(1, 400) if bound(n) <= epsilon)
        for bound in (lambda n: sequential_upper(0, n, error), lambda n: upper(0, n, split(error, 9)))
    ]
    assert first[0] < 0.85 * first[1]


def test_split_bounds_hold_together() -> None:
    """The chance that any of ten bounds misses is at most the error, whatever the shares are."""
    shares, trials, error = np.linspace(0.02, 0.4, 10), 32, 0.05
    each = split(error, len(shares))
    high = np.array([upper(k, trials, each) for k in range(trials + 1)])
    holds = np.prod([binom.pmf(np.flatnonzero(high >= p), trials, p).sum() for p in shares])
    assert holds >= 1 - error
    assert each == pytest.approx(error / 10)


@pytest.mark.parametrize(
    ("lost", "won", "pairs", "low", "high"),
    [
        # Fagerland, Lydersen & Laake: Statistics in Medicine 33:2850 (2014), and chapter 8 of their book of 2017.
        (1, 7, 21, -0.517, -0.026),
        (6, 16, 161, -0.1240, -0.0054),
    ],
)
def test_paired_difference_is_the_published_one(lost: int, won: int, pairs: int, low: float, high: float) -> None:
    digits = 3 if pairs == 21 else 4
    assert [round(end, digits) for end in paired_difference(lost, won, pairs)] == [low, high]
    assert [round(end, digits) for end in paired_difference(won, lost, pairs)] == [-high, -low]


def test_paired_difference_excludes_zero_exactly_where_mcnemars_test_rejects() -> None:
    for lost in range(31):
        for won in range(31 - lost):
            low, high = paired_difference(lost, won, 30)
            assert -1 <= low <= (lost - won) / 30 <= high <= 1
            assert (low <= 0 <= high) == ((lost - won) ** 2 <= 1.959964**2 * (lost + won))
    assert paired_difference(0, 0, 44)[1] == pytest.approx(1.959964**2 / (44 + 1.959964**2))
    assert (paired_difference(0, 5, 5)[0], paired_difference(5, 0, 5)[1]) == (-1.0, 1.0)
    with pytest.raises(ConfigError, match="4 lost and 3 won of 6 pairs"):
        paired_difference(4, 3, 6)


def test_paired_difference_covers_and_is_narrower_than_two_exact_intervals() -> None:
    """Every outcome is enumerated: the coverage is that of a good approximate interval, near the nominal 95%."""
    pairs = 40
    outcomes = [(lost, won) for lost in range(pairs + 1) for won in range(pairs + 1 - lost)]
    ends = np.array([paired_difference(*outcome, pairs) for outcome in outcomes])
    counts = np.array([(lost, won, pairs - lost - won) for lost, won in outcomes])
    found = []
    for lost, won in [(0.02, 0.02), (0.05, 0.01), (0.1, 0.02), (0.1, 0.1), (0.2, 0.05), (0.3, 0.1), (0.3, 0.3)]:
        holds = (ends[:, 0] <= lost - won) & (lost - won <= ends[:, 1])
        found.append(multinomial.pmf(counts[holds], pairs, [lost, won, 1 - lost - won]).sum())
    assert min(found) > 0.93
    assert np.mean(found) > 0.945
    exact = Bound(33, 320, 0.975), Bound(6, 320, 0.975)
    low, high = paired_difference(33, 6, 320)
    assert 1.5 * (high - low) < (exact[0].high - exact[1].low) - (exact[0].low - exact[1].high)


def test_nothing_drawn_says_nothing() -> None:
    assert (Bound(0, 0).low, Bound(0, 0).rate, Bound(0, 0).high) == (0.0, 0.0, 1.0)


def test_more_images_narrow_the_interval() -> None:
    widths = [Bound(n // 4, n).high - Bound(n // 4, n).low for n in (8, 32, 128, 512)]
    assert widths == sorted(widths, reverse=True)


def test_worst_is_the_highest_rate_with_a_bound_for_all() -> None:
    bounds = {"name": Bound(1, 40), "synonyms": Bound(6, 40), "v1": Bound(0, 4)}
    name, bound, high = worst(bounds, error=0.06)
    assert (name, bound) == ("synonyms", bounds["synonyms"])
    assert high == pytest.approx(max(upper(b.successes, b.trials, 0.06) for b in bounds.values()))
    assert high == pytest.approx(upper(0, 4, 0.06))  # little is known of v1, so it sets the bound and not the rate


@pytest.mark.parametrize("shares", [(0.1,), (0.1, 0.0, 0.0), (0.1, 0.1, 0.1), tuple(np.linspace(0.0, 0.1, 12))])
def test_the_largest_bound_covers_the_worst_share_whatever_the_others_are(shares: tuple[float, ...]) -> None:
    """Though no error was split: exactly, from the distribution of the largest count; a single input is the hardest case."""
    trials, error = 60, 0.05
    misses = 1.0  # that every input's bound lies below the worst share
    for share in shares:
        counts = np.arange(trials + 1)
        low = np.array([upper(int(k), trials, error) < max(shares) for k in counts])
        misses *= binom.pmf(counts[low], trials, share).sum()
    assert misses <= error


def test_as_dict_says_everything() -> None:
    found = Bound(3, 10).as_dict()
    assert found == {"rate": 0.3, "low": 0.0667, "high": 0.6525, "successes": 3, "trials": 10}  # the textbook interval


@pytest.mark.parametrize(("successes", "trials", "confidence"), [(-1, 5, 0.9), (6, 5, 0.9), (1, 5, 0.0), (1, 5, 1.0)])
def test_the_impossible_is_refused(successes: int, trials: int, confidence: float) -> None:
    with pytest.raises(ConfigError, match=r"impossible|has to lie between"):
        Bound(successes, trials, confidence)


def test_empty_comparisons_are_refused() -> None:
    with pytest.raises(ConfigError, match="0 comparisons"):
        split(0.05, 0)
    with pytest.raises(ConfigError, match="no inputs"):
        worst({})
