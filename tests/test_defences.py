"""Outer defences leave what is known as it is, and take away what no known prompt says."""

import pytest
import torch
from torch import Tensor

from tverase.defences import Defended, Nearest, Rounded, Smoothed
from tverase.errors import ConfigError
from tverase.models.text2image import TextToImage
from tverase.rng import generator
from tverase.sampling import Sampling, draw
from tverase.vector import TaskVector

PROMPTS = ["a cat", "a dog", "a bomb", "a noto bomb", ""]


@pytest.fixture(scope="module")
def known(pico: TextToImage) -> Tensor:
    return pico.encode(PROMPTS)


def far(known: Tensor) -> Tensor:
    """States that no prompt makes."""
    return 10 * torch.randn(4, *known.shape[1:], generator=generator(0, "tests/defences"))


def test_the_nearest_known_state_of_each_place(known: Tensor) -> None:
    defence = Nearest(known)
    assert torch.equal(defence(known), known)
    near = known + 1e-4 * torch.randn(known.shape, generator=generator(1, "tests/defences"))
    assert torch.equal(defence(near), known)
    for given, found in zip(far(known), defence(far(known)), strict=True):
        for place in range(known.shape[1]):
            distances = (known[:, place] - given[place]).norm(dim=1)
            assert torch.equal(found[place], known[distances.argmin(), place])


@pytest.mark.parametrize("levels", [2, 8, 64])
def test_rounding_has_few_values_and_a_range(known: Tensor, levels: int) -> None:
    defence = Rounded.of(known, levels)
    found = defence(torch.cat([known, far(known)]))
    assert all(len(column.unique()) <= levels for column in found.flatten(0, 1).T)
    assert (found >= defence.low - 1e-5).all()
    assert (found <= defence.high + 1e-5).all()
    assert torch.allclose(defence(found), found, atol=1e-5)
    step = (defence.high - defence.low) / (levels - 1)
    assert ((defence(known) - known).abs() <= step / 2 + 1e-5).all()


def test_rounding_needs_two_levels(known: Tensor) -> None:
    with pytest.raises(ConfigError, match="at least 2 levels"):
        Rounded.of(known, 1)


def test_smoothing_goes_from_nothing_to_the_mean(known: Tensor) -> None:
    given = far(known)
    assert torch.equal(Smoothed(known, 0.0)(given), given)
    assert torch.allclose(Smoothed(known, 1.0)(given), known.mean(0).expand_as(given))
    distance = [float((Smoothed(known, share)(given) - known.mean(0)).norm()) for share in (0.0, 0.3, 0.6)]
    assert distance == sorted(distance, reverse=True)


def test_a_defended_model_draws_what_the_model_draws_of_what_is_left(pico: TextToImage, known: Tensor) -> None:
    defended, settings = Defended(pico, Nearest(known)), Sampling(steps=2)
    given = known[:4] + 1e-4
    images = draw(defended, given, generator(0, "tests/defences/draw"), settings)
    plain = draw(pico, Nearest(known)(given), generator(0, "tests/defences/draw"), settings)
    assert torch.allclose(images, plain, atol=1e-5)
    assert not torch.allclose(images, draw(pico, far(known), generator(0, "tests/defences/draw"), settings), atol=1e-3)


def test_an_edit_goes_through_a_defence(pico: TextToImage, known: Tensor) -> None:
    defended = Defended(pico, Nearest(known))
    vector = TaskVector({key: torch.ones_like(weight) for key, weight in pico.weights().items()})
    edited = defended.with_weights(vector.apply(defended.weights(), 0.01))
    assert isinstance(edited, Defended)
    key = next(iter(vector.delta))
    assert torch.allclose(edited.weights()[key], pico.weights()[key] - 0.01)
