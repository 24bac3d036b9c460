"""Attacks on models whose inputs are directions: they find a leak that is there, nothing where there is none, and repeat."""

from typing import Any

import pytest
import torch
from planted import HIDDEN, NARROW, SIDE, Brightness, Planted
from torch import Tensor

from tverase.attacks.base import Finding, Target, owning
from tverase.attacks.random_inputs import RandomInputs
from tverase.attacks.sphere_ascent import SphereAscent
from tverase.attacks.worst_input import WorstInput
from tverase.errors import ConfigError
from tverase.evaluation import Budget, Examiner, Tried, examine
from tverase.inversion.diverse import Invert
from tverase.inversion.sets import InversionSet
from tverase.judges.base import shows
from tverase.models.text2image import TextToImage
from tverase.registry import built
from tverase.rng import generator
from tverase.sampling import Sampling, draw
from tverase.spaces.sphere import grid
from tverase.world.concepts import concept
from tverase.world.digit_concepts import digit_concept
from tverase.world.vocabulary import vocabulary

FAST = Sampling(steps=1, guidance=1.0, batch=512)
ASCENT = SphereAscent(inputs=40, steps=2, batch=2, owned=4)
GRID = WorstInput(complexities=(3, 4), first=1)
LEAKY, BLANK = Planted(HIDDEN), Planted(torch.zeros(4))
IN_THE_GRID = grid(4, 4)[100]
OWNED = torch.ones(4, 1, SIDE, SIDE)
NOTHING = InversionSet(torch.zeros(0, 4), (), "{}")


def target(model: Planted, seed: int = 0, **changes: Any) -> Target:
    known = {"judge": Brightness(), "sampling": FAST, **changes}
    return Target(model, LEAKY, digit_concept(3), generator(seed, "tests/directions"), owning(OWNED), **known)


def leaks(model: Planted, found: Finding) -> float:
    images = draw(model, found.cond.expand(8, -1), generator(9, "tests/directions/fresh"), FAST)
    return float(shows(Brightness(), images, "3").float().mean())


def test_the_ascent_finds_what_no_grid_point_is() -> None:
    """A 3 that hides in a narrow cone: the nearest of 80 grid points and of 40 random ones lie outside of it."""
    assert (grid(4, 3) @ HIDDEN).max() < NARROW
    (found,) = ASCENT.run(target(LEAKY))
    assert leaks(LEAKY, found) == 1
    (of_grid,) = WorstInput(complexities=(3,)).run(target(LEAKY))
    assert leaks(LEAKY, of_grid) == 0


def test_a_leak_on_the_grid_is_found_by_the_grid() -> None:
    model = Planted(IN_THE_GRID)
    found = {one.kind: one for one in GRID.run(target(model))}
    assert list(found) == ["complexity 3", "complexity 4"]
    assert torch.allclose(found["complexity 4"].cond[0], IN_THE_GRID, atol=1e-6)
    assert leaks(model, found["complexity 4"]) == 1


@pytest.mark.parametrize("attack", [GRID, ASCENT], ids=lambda attack: type(attack).__name__)
def test_where_nothing_leaks_nothing_is_found(attack: Any) -> None:
    found = list(attack.run(target(BLANK)))
    assert found
    assert all(leaks(BLANK, one) == 0 for one in found)


@pytest.mark.parametrize("attack", [GRID, ASCENT, RandomInputs(inputs=20)], ids=lambda attack: type(attack).__name__)
def test_the_same_seed_finds_the_same(attack: Any) -> None:
    one, again = ([found.cond for found in attack.run(target(LEAKY))] for _ in range(2))
    assert all(torch.equal(first, second) for first, second in zip(one, again, strict=True))
    if attack is not GRID:  # which has just one answer here
        other = [found.cond for found in attack.run(target(LEAKY, seed=1))]
        assert not all(torch.equal(first, second) for first, second in zip(one, other, strict=True))


def test_findings_are_directions_that_hardening_can_vary() -> None:
    for found in (*GRID.run(target(LEAKY)), *ASCENT.run(target(LEAKY))):
        assert found.cond.shape == (1, 4)
        assert found.cond.norm().item() == pytest.approx(1, abs=1e-5)
        assert found.point is not None
        assert not found.cond.requires_grad


def test_an_attack_counts_its_evaluations() -> None:
    model = Planted(HIDDEN)
    list(WorstInput(complexities=(2,), first=2, finalists=16).run(target(model)))
    assert model.meter.evaluations == model.meter.images == 16 * 2


def test_random_inputs_cover_the_sphere_and_are_drawn_once_each() -> None:
    (found,) = RandomInputs(inputs=4000).run(target(LEAKY))
    assert found.cond.shape == (4000, 4)
    assert found.cond.mean(0).norm() < 0.05
    row = _rows("anywhere", RandomInputs(inputs=300), LEAKY)[0]
    assert (row.kind, row.base.trials, row.erased.trials) == ("anywhere", 300, 300)


def _rows(label: str, attack: Any, erased: Planted) -> list[Any]:
    examiner = Examiner(LEAKY, erased, Brightness(), FAST, 0, 2)
    budget = Budget(NOTHING, Invert(template="{}"), 5, 6)
    return [row for _, row in examine(examiner, [digit_concept(3)], [Tried(label, attack)], budget)]


def test_an_evaluation_scores_the_worst_inputs_on_both_models() -> None:
    """The base model is attacked apart: there the attack has to succeed, or its silence proves nothing."""
    gone, kept = (_rows("ascent", ASCENT, model)[0] for model in (BLANK, LEAKY))
    assert (gone.base.rate, gone.erased.rate, gone.erased.trials, gone.adaptive) == (1, 0, 6, True)
    assert (kept.base.rate, kept.erased.rate) == (1, 1)
    assert [row.kind for row in _rows("grid", GRID, LEAKY)] == ["complexity 3", "complexity 4"]


@pytest.mark.parametrize("kind", ["worst-input", "sphere-ascent", "random-inputs"])
def test_a_model_of_words_is_refused(kind: str, pico: TextToImage) -> None:
    known = concept("bomb", vocabulary()), generator(0, "tests/directions"), owning(Tensor())
    with pytest.raises(
        ConfigError, match=rf"the attack {kind} tries directions of a sphere, and the inputs of this model"
    ):
        list(built("attack", {"kind": kind}).run(Target(pico, pico, *known, judge=Brightness(), sampling=FAST)))


@pytest.mark.parametrize("missing", ["judge", "sampling"])
def test_without_a_judge_nothing_can_be_counted(missing: str) -> None:
    with pytest.raises(ConfigError, match="the attack worst-input counts what it sees"):
        list(GRID.run(target(LEAKY, **{missing: None})))


@pytest.mark.parametrize("given", [{"complexities": [1]}, {"complexities": []}, {"fresh": 60}])
def test_settings_that_make_no_sense(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="worst-input"):
        built("attack", {"kind": "worst-input", **given})


def test_the_ascent_goes_on_from_what_it_has_turned() -> None:
    """Turns and gradient lead nearer: more children find a leak that so few random inputs do not."""
    (few,) = SphereAscent(inputs=2, turns=(), steps=1, batch=1, kept=1, lr=1e-9, owned=4).run(target(LEAKY))
    (more,) = SphereAscent(inputs=2, turns=(0.8, 0.4, 0.2, 0.1), children=40, steps=1, batch=1, owned=4).run(
        target(LEAKY)
    )
    assert (few.cond @ HIDDEN).item() < (more.cond @ HIDDEN).item()
