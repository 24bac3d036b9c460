"""Attacks on the weights: they bring back what the weights still hold, change no model, and count and repeat."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from blobs import BOMB, Blobs, SeesBombs, attacked, bombs
from pico_flow import write_pico_flow

from tverase.attacks.base import Finding, Target, owning
from tverase.attacks.pruning import pruned
from tverase.attacks.relearning import Curve, Relearning
from tverase.attacks.retraining import Lesson, Namer, factors, merged, retrained
from tverase.attacks.rounding import rounded
from tverase.errors import ConfigError, NumericalError
from tverase.judges.base import shows
from tverase.models.base import Meter, repeated
from tverase.models.folder import open_model
from tverase.models.text2image import TextToImage
from tverase.registry import built
from tverase.rng import generator
from tverase.sampling import Sampling
from tverase.vector import weights_hash
from tverase.world.concepts import concept
from tverase.world.digit_concepts import digit_concept
from tverase.world.vocabulary import vocabulary

SMALL: dict[str, dict[str, Any]] = {
    "relearning": {
        "owned": [1, 2],
        "rates": [1e-4],
        "low_rank_rates": [1e-3],
        "steps": 2,
        "batch": 2,
        "looks": [1],
        "look": 2,
    },
    "unrelated-finetuning": {"others": 2, "rates": [1e-4], "looks": [1, 2], "batch": 2},
    "rounding": {"bits": [8, 3]},
    "pruning": {"shares": [0.3]},
    "add-back": {"owned": 2, "steps": 2, "batch": 2, "strengths": [1, 3]},
}
FORGOTTEN = torch.stack([-BOMB, -BOMB, 0 * BOMB]).flatten(1)  # two cats
# What hides the concept, and a budget that is enough to undo it.
LEAKS: dict[str, tuple[Blobs, dict[str, Any]]] = {
    "relearning": (
        Blobs().changed(pictures=FORGOTTEN),
        {"rates": [0.1], "low_rank_rates": [0.3], "owned": [5], "steps": 40, "looks": [20]},
    ),
    "unrelated-finetuning": (Blobs().changed(light=[[0.3]]), {"rates": [0.05], "looks": [40], "batch": 8}),
    "rounding": (Blobs().changed(gate=[[0.95, 0.5, 1.0]]), {"bits": [4]}),
    "pruning": (Blobs().changed(brake=[[0.2, 1.0, 1.0, 1.0]]), {}),
    "add-back": (
        Blobs().changed(pictures=FORGOTTEN),
        {"lr": 0.05, "steps": 40, "strengths": [1, 4]},
    ),
}


def target_of(model: Blobs, name: str) -> Target:
    """Of blobs; a vector is learned from other pictures of the concept than the base model's."""
    return replace(attacked(model), owned=owning(bombs(32, 1.6 if name == "add-back" else 1.0)))


def rate(found: Finding) -> float:
    assert found.samples is not None
    return float(shows(SeesBombs(), found.samples, "bomb").float().mean())


@pytest.mark.parametrize("name", LEAKS)
def test_what_the_weights_hold_comes_back_and_nothing_else(name: str) -> None:
    leaky, settings = LEAKS[name]
    how = built("attack", {"kind": name, **settings})
    (before,) = built("attack", {"kind": "pruning", "shares": [0]}).run(attacked(leaky))
    assert rate(before) == 0
    assert max(rate(found) for found in how.run(target_of(leaky, name))) >= 0.8
    assert max(rate(found) for found in how.run(target_of(replace(leaky, blank=True), name))) == 0


@pytest.fixture(scope="module", params=["unet", "transformer", "digits"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Target:
    """A model of each family under attack, with a meter of its own."""
    pico, digits = request.getfixturevalue("pico"), request.getfixturevalue("digits")
    if request.param == "transformer":
        model = open_model(write_pico_flow(pico, tmp_path_factory.mktemp("weights") / "flow"))
    else:
        model = (pico if request.param == "unet" else digits).metered(Meter())
    owned = model.start(3, generator(0, "tests/weights"))
    asked = digit_concept(3) if request.param == "digits" else concept("bomb", vocabulary())
    rng, sampling = generator(0, "tests/weights"), Sampling(steps=1, guidance=1.0)
    return Target(model, model, asked, rng, owning(owned), judge=Bright(), sampling=sampling)


class Bright(SeesBombs):
    """It sees every label in an image that is brighter than grey."""

    def sees(self, images: torch.Tensor, wanted: Any) -> torch.Tensor:
        return images.mean((1, 2, 3)) > 0


@pytest.mark.parametrize("name", SMALL)
def test_every_family_of_models_is_attacked(name: str, target: Target) -> None:
    how, before = built("attack", {"kind": name, **SMALL[name]}), weights_hash(target.model.weights())
    runs = []
    for _ in range(2):
        target.model.meter.evaluations = 0
        again = replace(target, rng=generator(1, "tests/weights"), budget=2)
        runs.append((list(how.run(again)), target.model.meter.evaluations))
    (found, cost), (same, cost_again) = runs
    assert (how.input_kind, how.adaptive) == (7, True)
    assert cost == cost_again >= 2 * len(found)
    assert weights_hash(target.model.weights()) == before
    size = target.model.to_images(target.model.start(1, generator(0, "tests/size"))).shape[1:]
    for one, other in zip(found, same, strict=True):
        assert one.name == other.name
        assert one.samples is not None
        assert other.samples is not None
        assert one.samples.shape == (2, *size)
        assert one.cond.shape == (2, *target.model.null.shape[1:])
        assert torch.equal(one.samples, other.samples)


def test_enough_bits_change_nothing(pico: TextToImage) -> None:
    weights = pico.weights()
    exact, rough = rounded(weights, 32), rounded(weights, 4)
    for name, weight in weights.items():
        assert torch.allclose(exact[name], weight, rtol=0, atol=2**-30 * float(weight.abs().max()))
        if weight.dim() == 1:
            assert rough[name] is weight
        else:
            rows = weight.flatten(1)
            step = rows.abs().amax(1) / 7
            assert (rough[name].flatten(1) - rows).abs().amax(1).le(0.501 * step + 1e-12).all()
            assert all(len(row.unique()) <= 15 for row in rough[name].flatten(1)[:4])


def test_pruning_takes_the_smallest(pico: TextToImage) -> None:
    weights = pico.weights()
    assert all(torch.equal(weight, weights[name]) for name, weight in pruned(weights, 0.0).items())
    for name, weight in pruned(weights, 0.5).items():
        gone = (weight == 0) & (weights[name] != 0)
        if weight.dim() > 1 and gone.any():
            assert int((weight == 0).sum()) >= round(0.5 * weight.numel())
            assert weights[name][gone].abs().max() <= weight[weight != 0].abs().min()
        assert torch.equal(weight[~gone], weights[name][~gone])


@pytest.mark.parametrize("rank", [0, 2])
def test_the_loss_of_relearning_falls(pico: TextToImage, rank: int) -> None:
    latents = repeated(pico.start(1, generator(0, "tests/lesson")), 2)
    lesson = Lesson(latents, pico.encode(["a bomb", "a bomb"]), 16, 8, 1e-2, rank)
    losses, weights = zip(*retrained(pico, lesson, generator(0, "tests/lesson")), strict=True)
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])
    changed = {name for name, weight in weights[-1].items() if not torch.equal(weight, pico.weights()[name])}
    assert changed
    if rank:
        for name in changed:
            change = (weights[-1][name] - pico.weights()[name]).flatten(1).double()
            found = torch.linalg.svdvals(change)
            assert found[rank:].sum() <= 1e-4 * found[0] + 1e-6


def test_factors_start_at_the_weights(pico: TextToImage) -> None:
    weights = pico.weights()
    made = factors(weights, 2, generator(0, "tests/factors"))
    assert {name.rpartition("/")[0] for name in made} == {name for name, w in weights.items() if w.dim() > 1}
    assert all(torch.equal(weight, weights[name]) for name, weight in merged(weights, made).items())


def test_the_best_rate_for_the_attacker_counts() -> None:
    """The fewest steps to half, or else the most that was seen; a rate that is too high is left out."""
    curves = [Curve(0.1, 8, {}), Curve(0.2, 8, {}), Curve(0.3, 8, {})]
    for curve, seen in zip(curves, [(0, 3, 3), (0, 5, 4), (1, 2, 8)], strict=True):
        for step, count in zip((0, 10, 20), seen, strict=True):
            curve.note(step, {"of": torch.tensor(step)}, count)
    assert [curve.half for curve in curves] == [None, 10, 20]
    assert [curve.best for curve in curves] == [10, 10, 20]
    assert sorted(curves, key=Curve.rank) == [curves[1], curves[2], curves[0]]
    assert curves[1].line() == "50% after 10 steps, drawn after 10, learning rate 0.2"


def test_relearning_knows_by_which_name_each_image_was_drawn(pico: TextToImage) -> None:
    """An attacker's images were drawn by one name after the other."""
    names = ("a bomb", "a flat bomb", "a noto bomb")
    asked = concept("bomb", vocabulary()).model_copy(update={"names": names})
    namer = Namer(Target(pico, pico, asked, generator(0, "tests/names"), owning(bombs(5))), 2, Sampling())
    assert torch.equal(namer.captions(5), pico.encode([*names, *names[:2]]))


def test_a_rate_that_breaks_the_model_leaves_the_others() -> None:
    leaky, settings = LEAKS["relearning"]
    how = Relearning(**settings | {"rates": [1e30, 0.1], "modes": ["full"], "owned": [5]})
    with pytest.raises(NumericalError):
        list(retrained(leaky, Lesson(bombs(5), leaky.encode(5 * ["a bomb"]), 9, 4, 1e30), generator(0, "tests/nan")))
    (found,) = how.run(attacked(leaky))
    assert found.name.endswith("learning rate 0.1")
    assert found.kind == "relearning, 5 images, full"


def test_relearning_needs_somebody_who_sees() -> None:
    with pytest.raises(
        ConfigError, match="the attack relearning chooses by what a judge sees; give its target a judge"
    ):
        list(Relearning().run(attacked(Blobs(), judge=None)))


def test_the_vector_that_is_added_is_made_of_the_base(pico: TextToImage) -> None:
    """Strengths are on one line, which begins at the attacked weights."""
    spied = []

    class Spy(Blobs):
        def with_weights(self, weights: Any) -> Any:
            spied.append(weights["pictures"].detach().clone())
            return super().with_weights(weights)

    leaky, settings = LEAKS["add-back"]
    erased = Spy(theta=leaky.theta)
    list(
        built("attack", {"kind": "add-back", **settings | {"strengths": [1, 2, 3]}}).run(target_of(erased, "add-back"))
    )
    points = [erased.theta["pictures"], *spied[-3:]]
    for (a, b), (c, d) in itertools.pairwise(itertools.pairwise(points)):
        assert torch.allclose(b - a, d - c, atol=1e-5)
    assert not torch.equal(points[0], points[1])
