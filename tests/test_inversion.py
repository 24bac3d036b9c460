"""Diverse Inversion: embeddings stay in their bins, learn something, and are kept with what is known of them."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tverase.errors import ModelError, NumericalError
from tverase.files import write_tensors
from tverase.inversion.diverse import Invert, Round, invert, search
from tverase.inversion.sets import Found, InversionSet, by_bin
from tverase.losses import denoising_loss, random_timesteps
from tverase.models.text2image import TextToImage
from tverase.rng import generator
from tverase.spaces.cone import cosine
from tverase.spaces.tokens import TokenSpace

BINS = torch.tensor([[-1.0, 1.0], [-0.2, 0.2], [0.4, 0.6], [0.95, 0.98]])
FEW = Invert(steps=4, batch=2, lr=0.1)


@pytest.fixture(scope="module")
def space(pico: TextToImage) -> TokenSpace:
    return TokenSpace(pico)


@pytest.fixture(scope="module")
def anchor(space: TokenSpace) -> Tensor:
    return space.anchor("bomb")


@pytest.fixture(scope="module")
def latents(pico: TextToImage) -> Tensor:
    """Four latents that look alike, as images of one concept do."""
    rng = generator(0, "tests/inversion")
    return pico.start(1, rng) + 0.1 * pico.start(4, rng)


Search = Callable[..., list[Round]]


@pytest.fixture(scope="module")
def found(pico: TextToImage, space: TokenSpace, anchor: Tensor, latents: Tensor) -> Search:
    """All rounds of a search with these settings and this seed."""

    def run(settings: Invert = FEW, seed: int = 0, on: Tensor = latents) -> list[Round]:
        return list(search(pico, space, anchor, BINS, on, settings, generator(seed, "tests/search")))

    return run


def test_every_point_is_in_its_bin_after_each_step(found: Search, anchor: Tensor) -> None:
    rounds = found()
    assert [r.step for r in rounds] == [1, 2, 3, 4]
    for step in rounds:
        cosines = cosine(step.points, anchor)
        assert cosines.ge(BINS[:, 0] - 1e-4).all()
        assert cosines.le(BINS[:, 1] + 1e-4).all()
        assert step.losses.shape == (len(BINS),)
        assert not step.points.requires_grad
    moves = [(after.points - before.points).norm(dim=1) for before, after in pairwise(rounds)]
    assert all(move.min() > 0 for move in moves)


def test_starts_are_as_long_as_words_and_in_their_bins(pico: TextToImage, space: TokenSpace, anchor: Tensor) -> None:
    points = space.start(anchor, BINS[:, 0], BINS[:, 1], generator(0, "tests/start"))
    median = pico.token_embedding.weight.norm(dim=1).median()
    assert torch.allclose(points.norm(dim=1), median.expand(len(BINS)), rtol=1e-4)
    assert cosine(points, anchor).ge(BINS[:, 0] - 1e-4).all()
    assert cosine(points, anchor).le(BINS[:, 1] + 1e-4).all()


def test_the_same_seed_finds_the_same_points(found: Search) -> None:
    first, again, other = found(), found(), found(seed=1)
    assert torch.equal(first[-1].points, again[-1].points)
    assert torch.equal(first[-1].losses, again[-1].losses)
    assert not torch.allclose(first[-1].points, other[-1].points, atol=1e-2)


@pytest.mark.parametrize("chunk", [1, 2, 6])
def test_the_chunk_changes_memory_and_nothing_else(found: Search, chunk: int) -> None:
    whole, parts = found(), found(FEW.model_copy(update={"chunk": chunk}))
    for one, other in zip(whole, parts, strict=True):
        assert torch.allclose(one.losses, other.losses, rtol=1e-4)
    assert torch.allclose(whole[0].points, parts[0].points, atol=1e-3)


def test_the_search_lowers_the_loss(
    pico: TextToImage, space: TokenSpace, anchor: Tensor, latents: Tensor, found: Search
) -> None:
    def losses(points: Tensor) -> Tensor:
        """Of each point, on fresh noise that is the same for all."""
        rng, process = generator(1, "tests/inversion/loss"), pico.noise
        steps, noise = random_timesteps(32, process.timesteps, rng), pico.start(32, rng)
        clean, each = latents.repeat(8, 1, 1, 1), []
        for cond in space.cond(points).detach():
            error = denoising_loss(pico.denoise, process, clean, cond.expand(32, -1, -1), steps, noise)
            each.append((error * process.weight(steps)).mean().detach())
        return torch.stack(each)

    start = space.start(anchor, BINS[:, 0], BINS[:, 1], generator(0, "tests/search"))
    last = found(Invert(steps=12, batch=4, lr=0.1, hinge=0.0))[-1]
    assert (losses(last.points) < losses(start)).all()


def test_the_hinge_pushes_points_apart(pico: TextToImage, space: TokenSpace, anchor: Tensor, latents: Tensor) -> None:
    def likeness(hinge: float) -> float:
        settings = Invert(steps=6, batch=1, lr=0.02, hinge=hinge, alike=-0.9)
        bins = torch.tensor([[0.0, 0.5]] * 3)
        *_, last = search(pico, space, anchor, bins, latents, settings, generator(0, "tests/hinge"))
        unit = torch.nn.functional.normalize(last.points, dim=1)
        return (unit @ unit.T).triu(1).sum().item()

    assert likeness(10.0) < likeness(0.0) - 0.05


def test_the_model_is_left_as_it_was(pico: TextToImage, found: Search) -> None:
    before = {key: weight.clone() for key, weight in pico.text_encoder.state_dict().items()}
    found()
    assert all(torch.equal(weight, before[key]) for key, weight in pico.text_encoder.state_dict().items())
    assert not pico.token_embedding._forward_hooks


def test_damaged_latents_stop_the_search(found: Search, latents: Tensor) -> None:
    with pytest.raises(NumericalError, match=r"not finite at step 0; lower `invert\.lr`"):
        found(on=latents * float("inf"))


@pytest.mark.parametrize("bin_", [(0.5, 0.5), (0.5, 0.2), (-1.2, 0.0), (0.8, 1.1)])
def test_a_bin_that_is_no_range_is_refused(bin_: tuple[float, float]) -> None:
    with pytest.raises(ValidationError, match="is not a range of cosines"):
        Invert(bins=(bin_,))


class Script:
    """Says how often each point draws the concept, call by call, and remembers what it was asked."""

    def __init__(self, *answers: list[int]) -> None:
        self.answers, self.asked = list(answers), []

    def __call__(self, points: Tensor, attempt: int) -> list[int]:
        assert attempt == len(self.asked)
        self.asked.append(points.clone())
        return self.answers.pop(0)


@pytest.fixture
def inverted(pico: TextToImage, space: TokenSpace, anchor: Tensor, latents: Tensor) -> Callable[..., list[Round]]:
    """All rounds of an inversion, each copied as it comes."""

    def run(script: Script, restarts: int) -> list[Round]:
        settings = Invert(steps=2, batch=1, restarts=restarts, accept=0.5, images=10)
        rng = generator(0, "tests/invert")
        rounds = invert(pico, space, anchor, BINS, latents, settings, rng, script)
        return [replace(r, points=r.points.clone()) for r in rounds]

    return run


def test_only_those_that_failed_start_anew(inverted: Callable[..., list[Round]], anchor: Tensor) -> None:
    script = Script([10, 4, 5, 0], [7, 0], [3])
    rounds = inverted(script, restarts=2)
    assert [len(points) for points in script.asked] == [4, 2, 1]  # the second and the last failed, then the last
    last = rounds[-1]
    assert last.hits == (10, 7, 5, 3)
    assert torch.equal(last.points[0], script.asked[0][0])
    assert torch.equal(last.points[1], script.asked[1][0])
    assert torch.equal(last.points[2], script.asked[0][2])
    assert torch.equal(last.points[3], script.asked[2][0])
    assert cosine(last.points, anchor).ge(BINS[:, 0] - 1e-4).all()  # each was restarted in its own bin
    assert cosine(last.points, anchor).le(BINS[:, 1] + 1e-4).all()
    assert [r.attempt for r in rounds[:-1]] == [0, 0, 1, 1, 2, 2]


def test_a_restart_that_is_no_better_is_dropped(inverted: Callable[..., list[Round]]) -> None:
    script = Script([10, 4, 10, 10], [2])
    last = inverted(script, restarts=1)[-1]
    assert last.hits == (10, 4, 10, 10)
    assert torch.equal(last.points, script.asked[0])


@pytest.mark.parametrize("restarts", [0, 1, 3])
def test_restarts_are_limited(inverted: Callable[..., list[Round]], restarts: int) -> None:
    script = Script(*[[0] * len(BINS)] * (restarts + 1))
    rounds = inverted(script, restarts=restarts)
    assert len(script.asked) == restarts + 1
    assert len(rounds) == 2 * (restarts + 1) + 1


def test_no_restart_when_all_are_accepted(inverted: Callable[..., list[Round]]) -> None:
    script = Script([5, 6, 7, 10])
    assert inverted(script, restarts=3)[-1].hits == (5, 6, 7, 10)
    assert len(script.asked) == 1


def test_the_last_round_has_a_loss_for_every_point(inverted: Callable[..., list[Round]]) -> None:
    last = inverted(Script([10, 0, 10, 10], [10]), restarts=1)[-1]
    assert len(last.losses) == len(last.points) == len(BINS)


def test_rounds_stay_as_they_were_yielded(
    pico: TextToImage, space: TokenSpace, anchor: Tensor, latents: Tensor
) -> None:
    settings = Invert(steps=1, batch=1, restarts=1)
    script = Script([10, 0, 10, 10], [10])
    kept = [
        (r, r.points.clone()) for r in invert(pico, space, anchor, BINS, latents, settings, generator(0, "r"), script)
    ]
    assert len(kept) == 3
    assert all(torch.equal(r.points, points) for r, points in kept)


def known(name: str, concept: str, low: float, hits: int) -> Found:
    return Found(name, concept, low, low + 0.2, low + 0.1, hits, 10, hits >= 5)


@pytest.fixture
def inversions() -> InversionSet:
    found = (known("a", "bomb", 0.0, 9), known("b", "bomb", 0.2, 1), known("c", "skull", 0.0, 5))
    return InversionSet(torch.arange(12.0).view(3, 4), found, "a {}")


def test_a_set_is_saved_and_loaded(tmp_path: Path, inversions: InversionSet) -> None:
    inversions.save(tmp_path / "set.safetensors")
    back = InversionSet.load(tmp_path / "set.safetensors")
    assert torch.equal(back.points, inversions.points)
    assert (back.found, back.template) == (inversions.found, inversions.template)


def test_an_empty_set_is_saved_and_loaded(tmp_path: Path, inversions: InversionSet) -> None:
    nothing = inversions.accepted("owl")
    nothing.save(tmp_path / "none.safetensors")
    assert len(InversionSet.load(tmp_path / "none.safetensors")) == 0
    assert InversionSet.load(tmp_path / "none.safetensors").points.shape == (0, 4)


def test_another_file_is_no_set(tmp_path: Path) -> None:
    write_tensors({"points": torch.zeros(1, 4)}, tmp_path / "t.safetensors")
    with pytest.raises(ModelError, match="holds no inversion set"):
        InversionSet.load(tmp_path / "t.safetensors")


def test_accepted_keeps_those_that_draw_the_concept(inversions: InversionSet) -> None:
    assert [f.name for f in inversions.accepted().found] == ["a", "c"]
    assert torch.equal(inversions.accepted().points, inversions.points[[0, 2]])
    assert [f.name for f in inversions.accepted("bomb").found] == ["a"]


def test_sets_add_up(inversions: InversionSet) -> None:
    both = inversions + inversions.accepted("skull")
    assert [f.name for f in both.found] == ["a", "b", "c", "c"]
    assert torch.equal(both.points, inversions.points[[0, 1, 2, 2]])
    assert len(inversions) == 3


def test_bins_are_counted(inversions: InversionSet) -> None:
    assert by_bin(inversions.found) == [
        {"concept": "bomb", "low": 0.0, "high": 0.2, "tried": 1, "found": 1, "rate": 0.9},
        {"concept": "bomb", "low": 0.2, "high": 0.4, "tried": 1, "found": 0, "rate": 0.1},
        {"concept": "skull", "low": 0.0, "high": 0.2, "tried": 1, "found": 1, "rate": 0.5},
    ]
