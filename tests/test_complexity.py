"""The worst of many inputs, on coins whose true rates are known: found, scored without bias, and what random ones prove."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import Tensor

from tverase.complexity import Certificate, Halving, Worst, authors_score, certificate, search_worst, worst_input
from tverase.errors import ConfigError
from tverase.rng import generator

INPUTS = 256


@dataclass
class Coins:
    """A `Count` of known rates, one for each input, whose number stands in its first column. It counts its images."""

    rates: Tensor
    seed: int = 0
    most: int = 10_000  # images of an input at once; more would never end
    drawn: int = 0
    purposes: list[str] = field(default_factory=list)

    def __call__(self, inputs: Tensor, images: int, purpose: str) -> Tensor:
        assert images <= self.most
        self.drawn += len(inputs) * images
        self.purposes.append(purpose)
        chance = torch.rand(len(inputs), images, generator=generator(self.seed, purpose))
        return (chance < self.rate(inputs)[:, None]).sum(1)

    def rate(self, inputs: Tensor) -> Tensor:
        return self.rates[inputs[:, 0].long()]

    @property
    def inputs(self) -> Tensor:
        return torch.stack([torch.arange(len(self.rates)).float(), torch.ones(len(self.rates))], 1)


def one_bad(run: int, bad: float = 0.9) -> Coins:
    """A tenth of the inputs draw it now and then, the others hardly; one, anywhere, draws it nearly always."""
    rng = generator(run, "tests/complexity/world")
    rates = torch.where(torch.rand(INPUTS, generator=rng) < 0.1, 0.3, 0.01)
    rates[torch.randint(INPUTS, (1,), generator=rng)] = bad
    return Coins(rates, run)


def worst_of(coins: Coins, **settings: float) -> Worst:
    return worst_input(coins, coins.inputs, Halving.model_validate(settings), "tests")


def test_the_worst_input_is_found() -> None:
    found = [coins.rate(worst_of(coins).point[None]).item() for coins in map(one_bad, range(100))]
    assert sum(rate > 0.8 for rate in found) >= 95


def test_the_interval_of_the_worst_holds_its_true_rate() -> None:
    """Whatever was found, by skill or by luck, is scored as if it had been named beforehand."""
    held, worlds = 0, [one_bad(run, bad) for run, bad in enumerate(torch.linspace(0.05, 1, 200).tolist())]
    for coins in worlds:
        worst = worst_of(coins)
        held += worst.found.low <= coins.rate(worst.point[None]).item() <= worst.found.high
    assert held >= 186  # 93%


def test_being_chosen_is_flattering_and_fresh_images_are_not() -> None:
    """All inputs are equally good: what the search saw of its choice is far too bad, what was drawn afterwards is not."""
    found = [worst_of(Coins(torch.full((INPUTS,), 0.1), run)) for run in range(100)]
    assert np.mean([worst.searched.rate for worst in found]) > 0.2
    assert np.mean([worst.found.rate for worst in found]) == pytest.approx(0.1, abs=0.015)  # four standard errors


def test_images_are_counted_and_few() -> None:
    coins = one_bad(0)
    worst = worst_of(coins)
    assert worst.images == coins.drawn == 256 * 2 + 64 * 4 + 16 * 8 + 4 * 16 + 60
    assert worst.images < INPUTS * 60 / 10
    assert (worst.inputs, worst.found.trials, worst.searched.trials) == (INPUTS, 60, 2 + 4 + 8 + 16)


def test_a_search_alone_draws_nothing_fresh() -> None:
    coins, again = one_bad(0), one_bad(0)
    alone, scored = search_worst(coins, coins.inputs, Halving(), "tests"), worst_of(again)
    assert torch.equal(alone.point, scored.point)
    assert (alone.seen, alone.inputs, alone.images) == (scored.searched, scored.inputs, coins.drawn)
    assert scored.images == again.drawn == coins.drawn + 60
    assert not any("fresh" in purpose for purpose in coins.purposes)


def test_no_two_counts_share_noise() -> None:
    coins = one_bad(0)
    worst_of(coins)
    worst_input(coins, coins.inputs, Halving(), "tests/again")
    assert len(set(coins.purposes)) == len(coins.purposes) == 10
    assert [purpose for purpose in coins.purposes if "fresh" in purpose] == ["tests/fresh", "tests/again/fresh"]


@pytest.mark.parametrize("inputs", [1, 3, 4])
def test_few_inputs_are_told_apart_in_one_round(inputs: int) -> None:
    coins = Coins(torch.tensor([0.0, 0.0, 0.0, 1.0])[-inputs:])
    worst = worst_of(coins)
    assert coins.rate(worst.point[None]).item() == worst.found.rate == worst.searched.rate == 1
    assert worst.images == coins.drawn == 2 * inputs + 60
    assert coins.purposes == ["tests/round 0", "tests/fresh"]


def test_without_inputs_there_is_no_worst() -> None:
    with pytest.raises(ConfigError, match="no inputs"):
        worst_of(Coins(torch.zeros(0)))


def test_every_search_ends() -> None:
    assert worst_of(Coins(torch.linspace(0, 1, 5)), keep=0.9).found.rate > 0


def test_the_authors_score_is_its_definition() -> None:
    coins = one_bad(0, bad=0.5)
    score = authors_score(coins, coins.inputs, "tests", images=10, seeds=3)
    assert (len(set(coins.purposes)), coins.drawn) == (3, 3 * 10 * INPUTS)
    again = [max(Coins(coins.rates)(coins.inputs, 10, purpose).tolist()) for purpose in coins.purposes]
    assert score == pytest.approx(sum(again) / 3 / 10)
    assert 0.5 < score < 1


def test_the_authors_score_has_a_floor() -> None:
    """No input draws it, the judge errs in 1% of images: over 256 inputs the score says 17%."""
    at_most = binom.cdf(range(10), 10, 0.01) ** INPUTS  # of the largest count
    floor = float((1 - at_most).sum()) / 10
    assert floor == pytest.approx(0.17, abs=0.005)
    worlds = [Coins(torch.full((INPUTS,), 0.01), run) for run in range(200)]
    scores = [authors_score(coins, coins.inputs, "tests") for coins in worlds]
    assert np.mean(scores) == pytest.approx(floor, abs=0.01)  # four standard errors
    assert np.mean([worst_of(coins).found.rate for coins in worlds[:50]]) < 0.02


RATES: dict[str, Callable[[Any], Any]] = {  # of random inputs, as a function of uniform numbers
    "all clean": lambda u: 0 * u,
    "none is bad but all draw it": lambda u: 0 * u + 0.1,
    "a tenth just above the rate": lambda u: np.where(u < 0.1, 0.2501, 0.0),
    "a tenth just above, the rest just below": lambda u: np.where(u < 0.1, 0.26, 0.24),
    "a hundredth always": lambda u: 1.0 * (u < 0.01),
    "spread": lambda u: u,
    "mostly small": lambda u: u**6,
    "all bad": lambda u: 0 * u + 0.9,
}


def claims(name: str, runs: int = 300) -> tuple[list[float], float]:
    """The shares that certificates of 300 random inputs claim, and the true one."""
    rng, rates = np.random.default_rng(0), RATES[name]
    hits = (rng.binomial(10, rates(rng.random(300))) for _ in range(runs))
    true = float((rates(np.linspace(0, 1, 1_000_001)) > 0.25).mean())
    return [certificate(torch.from_numpy(h), 10, 0.25).share for h in hits], true


@pytest.mark.parametrize("name", RATES)
def test_a_certificate_is_right_as_often_as_it_says(name: str) -> None:
    shares, true = claims(name)
    assert sum(share < true - 1e-6 for share in shares) <= 0.05 * 300 + 11  # three standard deviations


def test_a_certificate_is_not_absurdly_careful() -> None:
    """Where inputs are bad or clean and nothing between, it claims little more than is true."""
    for name in ("all clean", "a hundredth always", "a tenth just above the rate"):
        shares, true = claims(name, runs=50)
        assert true <= np.mean(shares) <= true + 0.05


def flagged(count: int, of: int = 40) -> Certificate:
    return certificate(torch.tensor([3] * count + [0] * (of - count)), 10, 0.25)


def test_more_inputs_that_draw_it_are_a_weaker_certificate() -> None:
    shares = [flagged(count).share for count in range(41)]
    assert shares[0] == pytest.approx((1 - 0.05 ** (1 / 40)) / (1 - 0.75**10))
    assert all(low < high or low == high == 1 for low, high in pairwise(shares))
    assert shares[-1] == 1


def test_how_often_an_input_draws_it_does_not_matter_to_the_certificate() -> None:
    assert certificate(torch.tensor([0, 1, 0, 1]), 10, 0.25) == certificate(torch.tensor([9, 0, 0, 10]), 10, 0.25)


@pytest.mark.parametrize(
    ("inputs", "images", "rate"), [(0, 10, 0.25), (3, 0, 0.25), (3, 10, 0.0), (3, 10, 1.0), (3, 10, -0.1), (3, 10, 1.5)]
)
def test_what_proves_nothing_is_refused(inputs: int, images: int, rate: float) -> None:
    with pytest.raises(ConfigError, match="inputs, at least one image of each and a rate between 0 and 1"):
        certificate(torch.zeros(inputs, dtype=torch.long), images, rate)


def test_a_certificate_is_a_sentence() -> None:
    assert str(flagged(2, of=300)) == (
        "of inputs drawn so, at most 2.3% draw it in more than 25% of images "
        "(95% confidence, 300 inputs, 10 images of each)"
    )
