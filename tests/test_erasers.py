"""Erasers that depend on the input: the concept's code gets another answer, the kept codes their own, the base model none."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tverase.erasers.resteer import Resteer, esd, resteer
from tverase.models.digits import CLASSES, Digits
from tverase.rng import generator
from tverase.vector import StateDict, weights_hash

SETTINGS = Resteer(steps=16, batch=8, lr=1e-3)
FEW = SETTINGS.model_copy(update={"steps": 2})
Rounds = Iterator[tuple[float, StateDict]]


@pytest.fixture(scope="module")
def digits(digits: Digits) -> Digits:
    """The shared one, listening to its code more than random weights do by chance."""
    return replace(digits, into_time=10 * digits.into_time)


@pytest.fixture(scope="module")
def latents(digits: Digits) -> Tensor:
    return digits.to_latents(torch.rand(40, 1, 28, 28, generator=generator(0, "tests/erasers/images")) * 2 - 1)


def own(model: Digits) -> Tensor:
    return model.encode(["3"])


def next_one(model: Digits) -> Tensor:
    return model.encode(["4"])


def kept(model: Digits) -> Tensor:
    return model.encode([name for name in CLASSES if name != "3"])


def last(rounds: Rounds) -> StateDict:
    *_, (_, weights) = rounds
    return {key: weight.detach() for key, weight in weights.items()}


def first_loss(rounds: Rounds) -> float:
    return next(rounds)[0]


@pytest.fixture(scope="module")
def resteered(digits: Digits, latents: Tensor) -> Digits:
    return digits.with_weights(
        last(resteer(digits, own(digits), next_one(digits), latents, latents, kept(digits), SETTINGS, 0))
    )


def answer(model: Digits, code: Tensor) -> Tensor:
    """What it answers to noise that no training saw, at eight timesteps."""
    noised = model.start(8, generator(0, "tests/erasers/noise"))
    return model.denoise(noised, torch.arange(20, 1000, 125), code.expand(8, -1))


def gap(one: Tensor, other: Tensor) -> float:
    return (one - other).square().mean().sqrt().item()


def harm(model: Digits, base: Digits) -> float:
    """How far the answers to the kept codes have moved."""
    return sum(gap(answer(model, code[None]), answer(base, code[None])) for code in kept(base)) / 9


def test_resteering_answers_the_concept_as_another_code(digits: Digits, resteered: Digits) -> None:
    wanted = answer(digits, next_one(digits))
    before, after = gap(answer(digits, own(digits)), wanted), gap(answer(resteered, own(digits)), wanted)
    assert after < 0.7 * before
    assert after < gap(answer(resteered, own(digits)), answer(digits, own(digits)))


def test_what_is_kept_is_kept_better_than_without_being_held(
    digits: Digits, latents: Tensor, resteered: Digits
) -> None:
    """The same training that holds only the answer without a code harms the other digits more."""
    bare = last(resteer(digits, own(digits), next_one(digits), latents, latents, digits.null, SETTINGS, 0))
    assert 0 < harm(resteered, digits) < harm(digits.with_weights(bare), digits)
    assert harm(resteered, digits) < gap(answer(resteered, own(digits)), answer(digits, own(digits)))


def test_resteering_to_the_same_code_has_nothing_to_teach(digits: Digits, latents: Tensor) -> None:
    teach = {name: digits.encode([name]) for name in ("3", "4")}
    losses = {
        n: first_loss(resteer(digits, own(digits), c, latents, latents, kept(digits), FEW, 0)) for n, c in teach.items()
    }
    assert losses["3"] < 1e-10 < 1e-4 < losses["4"]


def beyond(model: Digits, negative: float) -> Tensor:
    """What the docstring of `esd` says is to be answered."""
    without = answer(model, model.null)
    return without - negative * (answer(model, own(model)) - without)


def test_esd_goes_beyond_the_answer_without_a_code(digits: Digits, latents: Tensor) -> None:
    edited = digits.with_weights(last(esd(digits, own(digits), latents, latents, kept(digits), SETTINGS, 0)))
    before, after = (answer(model, own(digits)) for model in (digits, edited))
    assert gap(after, beyond(digits, 1.0)) < 0.8 * gap(before, beyond(digits, 1.0))
    assert harm(edited, digits) < gap(after, before)


def test_the_first_loss_of_esd_is_the_way_to_its_target(digits: Digits, latents: Tensor) -> None:
    """Before anything is learned the answer is `1 + negative` times the concept's part away from the target."""
    losses = []
    for negative in (1.0, 3.0):
        settings = FEW.model_copy(update={"negative": negative})
        losses.append(first_loss(esd(digits, own(digits), latents, latents, kept(digits), settings, 0)))
    assert losses[1] / losses[0] == pytest.approx((1 + 3) ** 2 / (1 + 1) ** 2, rel=1e-3)
    assert first_loss(esd(digits, digits.null, latents, latents, kept(digits), FEW, 0)) < 1e-10  # no code adds nothing


def both(model: Digits, latents: Tensor, seed: int = 0) -> tuple[Rounds, Rounds]:
    return (
        resteer(model, own(model), next_one(model), latents, latents, kept(model), FEW, seed),
        esd(model, own(model), latents, latents, kept(model), FEW, seed),
    )


def test_same_seed_same_bytes_and_the_base_stays(digits: Digits, latents: Tensor) -> None:
    """As many rounds as steps; another seed is another result; the weights that were given are as they were."""
    before = weights_hash(digits.weights())
    found = []
    for seed in (0, 0, 1):
        rounds = [list(method) for method in both(digits, latents, seed)]
        assert [len(method) for method in rounds] == [FEW.steps, FEW.steps]
        found.append([weights_hash(method[-1][1]) for method in rounds])
    assert found[0] == found[1]
    assert len({before, *found[0], *found[2]}) == 5
    assert weights_hash(digits.weights()) == before
    assert not any(weight.requires_grad or weight.grad is not None for weight in digits.unet.parameters())


def test_a_batch_of_one_has_no_halves() -> None:
    with pytest.raises(ValidationError, match="batch"):
        Resteer(batch=1)
