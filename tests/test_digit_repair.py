"""Repair of a digit's vector: the other nine come back, and no direction of the sphere draws the digit again."""

import pytest
import torch
from torch import Tensor

from tverase.config import Params
from tverase.digitrepair import DigitRepair, repair_digit
from tverase.digitrun import Vectors, make_vectors
from tverase.errors import ConfigError
from tverase.models.digits import Digits
from tverase.rng import generator
from tverase.sampling import Sampling, draw_latents
from tverase.vector import TaskVector, weights_hash

DIGIT, FAST = 3, Sampling(steps=2, guidance=1.0)
SETTINGS = DigitRepair(steps=25, batch=8, lr=1e-3, inputs=20, controls=2)


@pytest.fixture(scope="module")
def vector(digits: Digits) -> TaskVector:
    """One that does harm everywhere."""
    rng = generator(0, "tests/digit repair")
    delta = {key: 0.02 * torch.randn(weight.shape, generator=rng) for key, weight in digits.weights().items()}
    return TaskVector(delta, weights_hash(digits.weights()))


def less(digits: Digits, vector: TaskVector) -> Digits:
    return digits.with_weights(vector.apply(digits.weights(), SETTINGS.alpha))


def apart(one: Digits, other: Digits, latents: Tensor, codes: Tensor) -> float:
    when = torch.full((len(latents),), 500)
    noise = torch.randn(latents.shape, generator=generator(1, "tests/digit repair/noise"))
    noised = one.noise.corrupt(latents, when, noise)
    with torch.no_grad():
        return float((one.denoise(noised, when, codes) - other.denoise(noised, when, codes)).square().mean())


def test_the_others_come_back_and_the_digit_stays_away_in_every_direction(digits: Digits, vector: TaskVector) -> None:
    *_, last = repair_digit(digits, DIGIT, vector, 8, SETTINGS, FAST, 0)
    plain, better = less(digits, vector), less(digits, last.vector)
    others = digits.codes[[i for i in range(10) if i != DIGIT]]
    kept = draw_latents(digits, others, generator(2, "tests/kept"), FAST)
    assert apart(digits, better, kept, others) < 0.8 * apart(digits, plain, kept, others)
    gone = draw_latents(digits, digits.codes[DIGIT].expand(16, -1), generator(2, "tests/gone"), FAST)
    anywhere = digits.space().uniform(16, generator(2, "tests/anywhere"))
    assert apart(plain, better, gone, anywhere) < apart(plain, digits, gone, anywhere)


def test_without_steps_the_vector_is_what_it_was(digits: Digits) -> None:
    given = {"methods": ("repaired", "random"), "images": 3, "anything": 10, "finetune": {"steps": 1, "batch": 2}}
    vectors = make_vectors(digits, DIGIT, Vectors.model_validate({**given, "repair": {"steps": 0}}), FAST, 0)
    assert vectors["repaired"] is vectors["random"]


def test_the_same_seed_repairs_in_the_same_way(digits: Digits, vector: TaskVector) -> None:
    short = SETTINGS.model_copy(update={"steps": 2})
    *_, one = repair_digit(digits, DIGIT, vector, 8, short, FAST, 0)
    *_, two = repair_digit(digits, DIGIT, vector, 8, short, FAST, 0)
    *_, other = repair_digit(digits, DIGIT, vector, 8, short, FAST, 1)
    assert (one.vector - two.vector).norm() == 0 < (one.vector - other.vector).norm()


def test_there_has_to_be_something_to_repair() -> None:
    with pytest.raises(ConfigError, match=r"digits\.vectors\.methods has `repaired` without `random`"):
        Params.parse({"digits": {"vectors": {"methods": ["repaired", "true"]}}})
