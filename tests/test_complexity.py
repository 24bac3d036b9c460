"""The worst of many inputs, on coins whose true rates are known: found, and scored without bias."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor

from tverase.complexity import Halving, Worst, search_worst, worst_input
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
