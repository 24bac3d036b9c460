"""An embedding that draws the concept leaves the search; the others go on as if it were still there."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tverase.inversion import kept
from tverase.inversion.diverse import WHOLE, Invert, Look, Round, invert
from tverase.inversion.moving import Moving
from tverase.models.base import Meter
from tverase.models.text2image import TextToImage
from tverase.rng import generator
from tverase.spaces.tokens import TokenSpace

BINS = torch.tensor([[-0.2, 0.2], [0.4, 0.6], [0.95, 0.98]])
SETTINGS = Invert(steps=6, batch=2, lr=0.1, hinge=0.0, look=2, look_every=2)
AGREED = [10, 10, 10]


class Leaving:
    """Lets points go by a plan: step -> the slots that leave, of those that are still there."""

    def __init__(self, plan: dict[int, list[int]]) -> None:
        self.plan, self.asked = plan, list[tuple[int, Tensor]]()

    def of(self, attempt: int) -> Look:
        def draws(step: int, points: Tensor) -> Tensor:
            self.asked.append((step, points.clone()))
            gone = self.plan.get(step, [])
            return torch.tensor([i in gone for i in range(len(points))])

        return draws


@pytest.fixture(scope="module")
def latents(pico: TextToImage) -> Tensor:
    return pico.start(6, generator(0, "tests/leaving"))


Run = Callable[..., tuple[list[Round], int]]


@pytest.fixture(scope="module")
def run(pico: TextToImage, latents: Tensor) -> Run:
    """All rounds and the denoiser evaluations of an inversion whose points leave by a plan."""

    def inverted(
        plan: dict[int, list[int]], settings: Invert = SETTINGS, path: Path | None = None, stop: int | None = None
    ) -> tuple[list[Round], int]:
        model = replace(pico, meter=Meter())
        space = TokenSpace(model)
        how = space, space.anchor("bomb"), BINS, latents, settings, generator(0, "tests/leaving/invert")
        rounds = invert(model, *how, lambda points, attempt: AGREED[: len(points)], path, Leaving(plan).of)
        seen = []
        for number, found in enumerate(rounds, 1):
            seen.append(found)
            if number == stop:
                break
        rounds.close()
        return seen, model.meter.evaluations

    return inverted


def test_who_leaves_stays_where_it_was_and_changes_nobody(run: Run) -> None:
    (everyone, cost), (some, less) = run({}), run({2: [1]})
    assert [r.step for r in some] == [r.step for r in everyone]
    for one, other in zip(everyone, some, strict=True):
        assert torch.allclose(one.points[[0, 2]], other.points[[0, 2]], atol=1e-5)
    assert all(torch.equal(r.points[1], some[1].points[1]) for r in some[2:])
    assert all(torch.equal(r.losses[1], some[1].losses[1]) for r in some[2:])
    assert not torch.equal(everyone[-1].points[1], some[-1].points[1])
    assert cost - less == 4 * SETTINGS.batch, "four steps without one of three"


def test_the_search_ends_when_all_have_left(run: Run) -> None:
    rounds, cost = run({2: [0, 2], 4: [0]})
    assert [r.step for r in rounds] == [1, 2, 3, 4, SETTINGS.steps]
    assert rounds[-1].hits == tuple(AGREED)
    assert cost == SETTINGS.batch * (3 + 3 + 1 + 1)


def test_only_those_that_stay_are_looked_at(pico: TextToImage, latents: Tensor) -> None:
    space, leaving = TokenSpace(pico), Leaving({2: [0], 4: [1]})
    how = space, space.anchor("bomb"), BINS, latents, SETTINGS, generator(0, "tests/leaving/looks")
    rounds = list(invert(pico, *how, lambda points, attempt: AGREED, None, leaving.of))
    assert [(step, len(points)) for step, points in leaving.asked] == [(2, 3), (4, 2)]
    assert torch.equal(leaving.asked[1][1], rounds[3].points[1:])


def test_without_looks_nobody_leaves(run: Run) -> None:
    still = SETTINGS.model_copy(update={"look": 0})
    (expected, cost), (rounds, same) = run({}), run({2: [0, 1, 2]}, still)
    assert cost == same
    assert torch.equal(rounds[-1].points, expected[-1].points)


@pytest.mark.parametrize("stop", range(1, 7))
def test_a_search_that_was_stopped_remembers_who_left(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    monkeypatch.setattr(kept, "CHECKPOINT_EVERY", 1)
    plan, path = {2: [1], 4: [0]}, tmp_path / "kept.safetensors"
    (expected, cost), _ = run(plan), run(plan, path=path, stop=stop)
    rest, paid = run(plan, path=path)
    for one, other in zip(rest[::-1], expected[::-1], strict=False):
        assert torch.equal(one.points, other.points)
        assert torch.equal(one.losses, other.losses)
    assert len(rest) >= len(expected) - stop
    assert paid == cost


def test_points_that_left_do_not_roll_on() -> None:
    moving = Moving(torch.ones(2, 3))
    moving.optimiser.param_groups[0]["lr"] = 0.1
    for left in (False, True):
        moving.left[0] = left
        moving.points.grad = torch.ones(2, 3)
        moving.advance(torch.tensor([1.0, 2.0]) * (1 + left))
    assert torch.allclose(moving.points[0], torch.full((3,), 0.9))
    assert moving.points[1].max() < 0.85
    assert moving.losses.tolist() == [1.0, 4.0]
    assert not moving.over(3)
    moving.left[1] = True
    assert moving.over(3)


@pytest.mark.parametrize("noise", [(0.5, 0.5), (-0.1, 1.0), (0.0, 1.1), (0.9, 0.4)])
def test_noise_that_is_no_range_is_refused(noise: tuple[float, float]) -> None:
    with pytest.raises(ValidationError, match="is not a part of the timesteps"):
        Invert(noise=noise)


def test_what_is_learned_from_is_what_was_asked_for(
    run: Run, pico: TextToImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timesteps that the denoiser sees, with the part that teaches and with the whole."""
    asked = list[Tensor]()
    denoise = TextToImage.denoise

    def spy(self: TextToImage, noised: Tensor, timesteps: Tensor, cond: Tensor) -> Tensor:
        asked.append(timesteps)
        return denoise(self, noised, timesteps, cond)

    monkeypatch.setattr(TextToImage, "denoise", spy)
    total = pico.noise.timesteps
    many = SETTINGS.model_copy(update={"batch": 20})
    for settings, low in ((many, 0.4), (many.model_copy(update=WHOLE), 0.0)):
        asked.clear()
        run({}, settings)
        steps = torch.cat(asked) / total
        assert low <= steps.min() < low + 0.03
        assert 0.97 < steps.max() < 1
