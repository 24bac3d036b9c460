"""An inversion that was stopped goes on as if nothing had happened, wherever that was."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tasks.invert import STEP
from tasks.make_images import STEP as MAKE_IMAGES
from tverase.config import Params
from tverase.errors import NumericalError
from tverase.files import read_tensors
from tverase.inversion import kept
from tverase.inversion.diverse import Invert, Round, invert
from tverase.inversion.moving import Moving
from tverase.models.base import Meter
from tverase.models.text2image import TextToImage
from tverase.progress import Progress
from tverase.rng import generator
from tverase.spaces.tokens import TokenSpace

BINS = torch.tensor([[-0.2, 0.2], [0.4, 0.6], [0.95, 0.98]])
SETTINGS = Invert(steps=5, batch=2, lr=0.1, restarts=2, accept=0.5, images=10)
ANSWERS = ([10, 2, 1], [3, 4], [9, 1])  # after the first attempt two are open, after the second both still are
STEPS = len(ANSWERS) * SETTINGS.steps
DAMAGED = 3  # first drawn at step 3


class Stop(Exception):
    """As if somebody had pulled the plug."""


class Answers:
    """Says how often each point draws the concept, whichever process asks; the plug may be pulled during one."""

    def __init__(self, pulled_at: int | None = None) -> None:
        self.pulled_at, self.asked = pulled_at, []

    def __call__(self, points: Tensor, attempt: int) -> list[int]:
        assert len(points) == len(ANSWERS[attempt])
        if attempt == self.pulled_at:
            raise Stop
        self.asked.append(attempt)
        return ANSWERS[attempt]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "CHECKPOINT_EVERY", 2)


@pytest.fixture(scope="module")
def latents(pico: TextToImage) -> Tensor:
    return pico.start(6, generator(0, "tests/resume"))


def rounds(
    model: TextToImage, latents: Tensor, path: Path | None, answers: Answers, settings: Invert = SETTINGS
) -> Iterator[Round]:
    """An inversion of pairs of words that begins anew or goes on from `path`."""
    space = TokenSpace(model, tokens=2)
    how = space, space.anchor("bomb"), BINS, latents, settings
    return invert(model, *how, generator(0, "tests/resume/invert"), answers, path)


@pytest.fixture(scope="module")
def whole(pico: TextToImage, latents: Tensor) -> tuple[list[Round], Meter]:
    """All rounds, never stopped, and what they took."""
    model = replace(pico, meter=Meter())
    return list(rounds(model, latents, None, Answers())), model.meter


def same(one: Round, other: Round) -> bool:
    numbers = (one.step, one.attempt, one.hits) == (other.step, other.attempt, other.hits)
    return numbers and torch.equal(one.points, other.points) and torch.equal(one.losses, other.losses)


@pytest.mark.parametrize("stop", range(1, STEPS + 2))
def test_it_goes_on_exactly_after_any_step(
    pico: TextToImage, latents: Tensor, whole: tuple[list[Round], Meter], tmp_path: Path, stop: int
) -> None:
    expected, cost = whole
    path, answers = tmp_path / "kept.safetensors", Answers()
    begun = rounds(replace(pico, meter=Meter()), latents, path, answers)
    first = [next(begun) for _ in range(stop)]
    begun.close()
    model = replace(pico, meter=Meter())
    rest = list(rounds(model, latents, path, answers))
    assert len(first) + len(rest) - len(expected) in (0, 1), "every second step is kept, and the last of each search"
    assert all(map(same, first, expected))
    assert all(map(same, rest, expected[-len(rest) :]))
    assert model.meter == cost, "what was lost is not paid twice"


@pytest.mark.parametrize("attempt", range(len(ANSWERS)))
def test_a_stop_during_acceptance_costs_no_step(
    pico: TextToImage, latents: Tensor, whole: tuple[list[Round], Meter], tmp_path: Path, attempt: int
) -> None:
    path, answers = tmp_path / "kept.safetensors", Answers(pulled_at=attempt)
    with pytest.raises(Stop):
        list(rounds(replace(pico, meter=Meter()), latents, path, answers))
    answers.pulled_at = None
    rest = list(rounds(replace(pico, meter=Meter()), latents, path, answers))
    assert len(rest) == 2 + (len(ANSWERS) - 1 - attempt) * SETTINGS.steps
    assert all(map(same, rest, whole[0][-len(rest) :]))


def test_what_is_finished_is_not_searched_again(
    pico: TextToImage, latents: Tensor, whole: tuple[list[Round], Meter], tmp_path: Path
) -> None:
    path = tmp_path / "kept.safetensors"
    list(rounds(replace(pico, meter=Meter()), latents, path, Answers()))
    (again,) = rounds(replace(pico, meter=Meter()), latents, path, Answers(pulled_at=0))
    assert same(again, whole[0][-1])


@pytest.mark.parametrize("spoil", ["truncated", "empty", "of another inversion"])
def test_a_damaged_checkpoint_is_dropped_and_the_search_starts_again(
    pico: TextToImage,
    latents: Tensor,
    whole: tuple[list[Round], Meter],
    tmp_path: Path,
    spoil: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "kept.safetensors"
    if spoil == "of another inversion":
        space = TokenSpace(pico)  # of one free token, where the other has two
        how = latents, SETTINGS, generator(0, "tests/resume"), Answers(), path
        list(invert(pico, space, space.anchor("bomb"), BINS, *how))
    else:
        list(rounds(replace(pico, meter=Meter()), latents, path, Answers()))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if spoil == "truncated" else b"")
    again = list(rounds(replace(pico, meter=Meter()), latents, path, Answers()))
    assert "it is dropped and computed again" in caplog.text
    assert len(again) == len(whole[0])
    assert all(map(same, again, whole[0]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_names_its_step_and_keeps_the_last_good_state(
    pico: TextToImage, latents: Tensor, tmp_path: Path, value: float
) -> None:
    """One image of many is damaged, so that it is drawn at some step in the middle; mended, the search goes on."""
    path, many, seen = tmp_path / "kept.safetensors", latents.repeat(5, 1, 1, 1), list[Round]()
    expected = list(rounds(replace(pico, meter=Meter()), many, None, Answers()))
    damaged = many.clone()
    damaged[DAMAGED] = value
    with pytest.raises(NumericalError, match=r"not finite at step \d+; lower `invert\.lr`") as error:
        seen.extend(rounds(replace(pico, meter=Meter()), damaged, path, Answers()))
    step = int(re.findall(r"step (\d+)", str(error.value))[0])
    tensors, about = read_tensors(path)
    assert (len(seen), int(tensors["moving/step"]), about["attempt"]) == (step, step, "0")
    assert step % kept.CHECKPOINT_EVERY, "it would have been kept anyway"
    assert torch.equal(tensors["moving/points"], seen[-1].points)
    assert torch.isfinite(tensors["moving/first"]).all()
    rest = list(rounds(replace(pico, meter=Meter()), many, path, Answers()))
    assert len(seen + rest) == len(expected)
    assert all(map(same, seen + rest, expected))


def test_a_slope_that_is_no_number_is_seen_before_the_step() -> None:
    moving = Moving(torch.ones(2, 3))
    moving.points.grad = torch.tensor([[0.0, 1.0, 2.0], [float("nan"), 0.0, 0.0]])
    assert not moving.finite(torch.zeros(2))
    moving.points.grad = torch.ones(2, 3)
    assert moving.finite(torch.zeros(2))
    assert not moving.finite(torch.tensor([0.0, float("inf")]))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_run: dict[str, Any]) -> Params:
    """Two concepts with their images, in the working folder."""
    monkeypatch.chdir(tmp_path)
    content = small_run | {"concepts": ["bomb", "owl"]}
    params = Params.parse(content | {"invert": small_run["invert"] | {"steps": 3, "accept": 1, "restarts": 1}})
    MAKE_IMAGES.execute(params)
    return params


def test_the_step_leaves_the_same_bytes_after_stops(run: Params) -> None:
    expected = STEP.execute(run)
    stops, told = 0, [0]

    def tell(progress: Progress) -> None:
        told[0] += 1
        if told[0] == 4:  # in every process
            raise Stop

    while True:
        told[0] = 0
        try:
            record = STEP.execute(run, tell, force=True)
        except Stop:
            stops += 1
        else:
            break
    assert stops > 2, "it was never stopped"
    assert record.outputs == expected.outputs
    assert record.evaluations == expected.evaluations
