"""The search for alpha, on trials whose true curves are known."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from coins import Curve, KnownTrial, Scripted, always, falling

from tverase import bounds, strength
from tverase.config import Params
from tverase.strength import Strength, StrengthCurve
from tverase.strength_search import search_strength


def answer(trial: KnownTrial, tune: Sequence[str], validate: Sequence[str] = (), **settings: Any) -> StrengthCurve:
    *_, last = search_strength(trial, tune, validate, Strength(**settings))
    return last


def first_below(curves: Sequence[Curve], rate: float, step: float) -> float:
    """The smallest alpha of the grid at which every true recovery is at most `rate`."""
    return next(k * step for k in range(1000) if max(curve(k * step) for curve in curves) <= rate)


def test_the_answer_is_safe_and_not_absurdly_strong() -> None:
    """At least 190 of 200 searches over random worlds find the smallest alpha, within what their images can tell apart."""
    inside, unsafe, excess = 0, 0, []
    for run in range(200):
        rng = np.random.default_rng(run)
        names = [f"v{i}" for i in range(6)]
        curves = {name: falling(rng.uniform(0.6, 1.2), rng.uniform(0.04, 0.12)) for name in names}
        settings = Strength()
        *_, found = search_strength(KnownTrial(curves, rng), names[:3], names[3:], settings)
        if found.alpha is None:
            continue  # the held-out inputs can lie further off than `patience` goes
        every = list(curves.values())
        unsafe += max(curve(found.alpha) for curve in every) > settings.epsilon
        weakest = first_below(every, settings.epsilon, settings.resolution)
        above = found.alpha - first_below(every, 5e-4, settings.resolution)
        inside += weakest <= found.alpha and above <= 2 * settings.resolution + 1e-9
        excess.append(above)
    assert inside >= 190
    assert unsafe <= 10  # 5% of 200; each bound is careful, so it is far fewer
    assert max(excess) <= 2 * settings.resolution + 1e-9
    assert np.mean(excess) < 0  # the smallest alpha, not a careful one


def test_where_nothing_was_held_out_nothing_is_called_so() -> None:
    found = answer(KnownTrial({"v": falling(1.0, 0.02)}), ["v"], [])
    assert found.alpha is not None
    assert {tested.role for tested in found.tested} == {"tune"}
    assert found.tested[-1].alpha == found.alpha  # with fresh images, once more


@pytest.mark.parametrize("inputs", [1, 2, 8])
def test_a_broken_input_is_never_called_safe(inputs: int) -> None:
    """Just above epsilon, where a careless search passes most easily: however many inputs are on trial."""
    settings = Strength(epsilon=0.15)
    curves = {f"v{i}": always(0.16 if i == 0 else 0.0) for i in range(inputs)}
    tests = [
        strength.test_alpha(KnownTrial(curves, np.random.default_rng(run)), 1.0, list(curves), settings, "tune", ())
        for run in range(300)
    ]
    assert sum(tested.safe for tested in tests) <= 15
    assert sum(tested.upper < 0.16 for tested in tests) <= 15


@dataclass
class Late(KnownTrial):
    """Fails as late as it can: an input draws the concept in the last of four rounds only, below alpha 1 or always."""

    def recovery(self, alpha: float, inputs: Sequence[str], images: int) -> list[int]:
        super().recovery(alpha, inputs, images)
        last = len(self.alphas) % 4 == 0
        return [images if last and (name == "held" or alpha < 1) else 0 for name in inputs]


def test_the_error_is_split_over_every_test() -> None:
    """No search has more tests than its error was split over, not even one that is in doubt for long."""
    settings = Strength(epsilon=0.12, round=16, rounds=4, patience=3, adaptive=0)
    trial = Late(dict.fromkeys(("tune", "held"), always(0.0)))
    *_, found = search_strength(trial, ["tune"], ["held"], settings)
    assert len(trial.alphas) == 4 * len(found.tested) > 30
    assert len(found.tested) * settings.share <= settings.error + 1e-12


def test_the_search_is_a_bisection() -> None:
    trial = Scripted({"v": falling(1.0, 0.01)})
    found = answer(trial, ["v"], ["v"], alpha_max=4.0, resolution=0.125)
    assert found.alpha == pytest.approx(1.125)
    assert found.reason == "the smallest alpha that meets both bounds"
    assert found.safe_alpha == found.alpha
    visited = [tested.alpha for tested in found.tested]
    assert len(visited) == 1 + math.log2(2.0 / 0.125) + 1  # the first guess, the halvings, one validation
    assert [tested.role for tested in found.tested] == ["tune"] * 5 + ["validate"]
    assert found.images < found.even_grid / 3


@pytest.mark.parametrize("first", [0.01, 0.5, 1.0, 3.0, 4.0, 9.0])
def test_a_bad_guess_costs_images_and_changes_nothing(first: float) -> None:
    found = answer(Scripted({"v": falling(1.0, 0.01)}), ["v"], ["v"], alpha_max=4.0, resolution=0.125, first=first)
    assert found.alpha == pytest.approx(1.125)
    assert max(tested.alpha for tested in found.tested) <= 4.0


def test_the_same_alphas_whatever_the_order_of_inputs() -> None:
    curves = {"a": falling(0.5, 0.01), "b": falling(1.5, 0.01)}
    first, second = (answer(Scripted(curves), names, names) for names in (["a", "b"], ["b", "a"]))
    assert first.alpha == second.alpha == pytest.approx(1.625)


def test_stricter_inputs_that_were_held_out_raise_alpha() -> None:
    trial = Scripted({"tune": falling(1.0, 0.01), "held": falling(1.2, 0.01)})
    found = answer(trial, ["tune"], ["held"], patience=3)
    assert found.alpha == pytest.approx(1.25)
    assert [tested.safe for tested in found.tested if tested.role == "validate"] == [False, True]


def test_infeasible_when_control_falls() -> None:
    trial = Scripted({"v": falling(1.0)}, kept=lambda alpha: 0.95 if alpha < 0.5 else 0.4)
    found = answer(trial, ["v"], ["v"], delta=0.25)
    assert found.alpha is None
    assert found.safe_alpha == pytest.approx(1.375, abs=0.13)
    assert f"at alpha {found.safe_alpha:g}" in found.reason
    assert "more than delta = 25.0%" in found.reason
    assert found.control is not None
    assert found.control.rate < 0.5


def test_infeasible_when_too_few_controls_show_that_it_holds() -> None:
    """The rate falls by less than delta, but 20 images cannot show that; 2,000 can."""
    curves, kept = {"v": falling(1.0)}, lambda alpha: 0.95 if alpha == 0 else 0.75
    few, many = (answer(Scripted(curves, kept=kept), ["v"], control_images=count) for count in (20, 2000))
    assert few.alpha is None
    assert many.alpha == few.safe_alpha == pytest.approx(1.375, abs=0.13)


def test_infeasible_when_alpha_max_is_too_small() -> None:
    found = answer(Scripted({"good": falling(0.5), "bad": falling(3.0)}), ["good", "bad"], alpha_max=2.0)
    assert (found.alpha, found.safe_alpha, len(found.tested)) == (None, None, 1)
    assert "even at alpha_max = 2, bad draws the concept in" in found.reason


def test_the_advice_names_a_parameter_that_exists() -> None:
    found = answer(Scripted({"v": always(1.0)}), ["v"])
    advised = [word.strip(",.;") for word in found.reason.split() if word.strip(",.;").endswith(".alpha_max")]
    assert len(advised) == 1
    section, _, key = advised[0].partition(".")
    assert section in Params.model_fields
    assert key in type(getattr(Params(name="bomb"), section)).model_fields


def test_infeasible_when_the_held_out_inputs_never_agree() -> None:
    found = answer(Scripted({"tune": falling(0.5), "held": always(0.9)}), ["tune"], ["held"], patience=2)
    assert found.alpha is None
    assert [tested.role for tested in found.tested].count("validate") == 3
    assert "held-out" in found.reason


def test_too_few_images_to_prove_anything_are_refused_with_the_arithmetic() -> None:
    """2 rounds of 8 cannot prove a tenth, even if nothing is ever drawn."""
    with pytest.raises(
        ValueError, match=r"epsilon=0\.1 takes 65 images .* round=8 x rounds=2 allows 16; set rounds to 9"
    ):
        Strength(round=8, rounds=2)


@pytest.mark.parametrize("resolution", [0.125, 0.3, 1.5])
@pytest.mark.parametrize("held", [always(0.9), falling(1.0)])
def test_no_alpha_above_alpha_max_is_tried(resolution: float, held: Curve) -> None:
    trial = Scripted({"tune": falling(1.9, 0.01), "held": held})
    answer(trial, ["tune"], ["held"], alpha_max=2.0, resolution=resolution)
    assert max(trial.alphas) <= 2.0


def one(curves: dict[str, Curve], **settings: Any) -> strength.Tested:
    return strength.test_alpha(Scripted(curves), 1.0, list(curves), Strength(**settings), "tune", ())


@dataclass
class Coins(KnownTrial):
    """Counts that were thrown before: of each round a row, of each input a column."""

    thrown: Any = None

    def recovery(self, alpha: float, inputs: Sequence[str], images: int) -> list[int]:
        super().recovery(alpha, inputs, images)
        return [int(self.thrown[len(self.alphas) - 1, int(name)]) for name in inputs]


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.03, 0.1, 0.3])
def test_stopping_early_changes_no_verdict(rate: float) -> None:
    """Against all rounds of the same coins: safe is who meets epsilon at any look, early or late."""
    settings, share = Strength(round=16, rounds=8), Strength(round=16, rounds=8).share
    for run in range(60):
        coins = np.random.default_rng(run).binomial(16, rate, (8, 3))
        trial = Coins(dict.fromkeys("012", always(rate)), thrown=coins)
        tested = strength.test_alpha(trial, 1.0, list("012"), settings, "tune", ())
        seen = [list(enumerate(column, 1)) for column in coins.cumsum(0).T]
        best = [min(bounds.sequential_upper(int(hits), 16 * n, share) for n, hits in column) for column in seen]
        assert tested.safe == (max(best) <= settings.epsilon)


def test_safe_inputs_stop_costing_images() -> None:
    tested = one({"clean": always(0.0), "unsure": always(1 / 32)}, epsilon=0.15, round=32, rounds=8, adaptive=0)
    needed = Strength(epsilon=0.15, round=32, rounds=8, adaptive=0).needed
    assert tested.counts["clean"] == (0, 32 * math.ceil(needed / 32))
    assert tested.counts["unsure"] == (3, 96)
    assert tested.safe
    assert tested.images == sum(images for _, images in tested.counts.values())


@pytest.mark.parametrize("rate", [0.125, 1.0])  # 2 of 64 would be too many already
def test_an_input_that_cannot_be_found_safe_ends_the_test(rate: float) -> None:
    tested = one({"clean": always(0.0), "broken": always(rate)}, epsilon=0.15, round=16, rounds=4)
    assert tested.counts == {"clean": (0, 16), "broken": (16 * rate, 16)}
    assert (tested.safe, tested.worst) == (False, "broken")


def test_suspects_are_tried_first_and_change_no_verdict() -> None:
    """One that is lost saves the images of all the others; if none is, the others are drawn as without."""
    curves, settings = {"clean": always(0.0), "other": always(0.0), "broken": always(0.5)}, Strength(round=16)
    found = strength.test_alpha(Scripted(curves), 1.0, list(curves), settings, "adaptive", ["broken", "unknown"])
    assert (found.counts, found.safe, found.worst) == ({"broken": (8, 16)}, False, "broken")
    assert found.images == 16
    for suspects in ([], ["clean"], ["clean", "other"]):
        clean = strength.test_alpha(Scripted(curves), 1.0, ["clean", "other"], settings, "adaptive", suspects)
        needed = settings.round * math.ceil(settings.needed / settings.round)
        assert (clean.counts, clean.safe) == (dict.fromkeys(("clean", "other"), (0, needed)), True)


@pytest.mark.parametrize("rounds", [4, 5, 40])
def test_needed_images_are_needed_and_enough(rounds: int) -> None:
    settings = Strength(rounds=rounds)
    needed, share = settings.needed, settings.share
    assert bounds.sequential_upper(0, needed, share) <= settings.epsilon < bounds.sequential_upper(0, needed - 1, share)


OUTCOMES: dict[str, tuple[dict[str, Curve], Curve]] = {
    "found": ({"tune": falling(1.0), "held": falling(1.1)}, always(0.95)),
    "control falls": ({"tune": falling(1.0), "held": falling(1.1)}, lambda alpha: 0.9 if alpha == 0 else 0.3),
    "alpha_max too small": ({"tune": always(0.9), "held": falling(1.0)}, always(0.95)),
    "held out disagree": ({"tune": falling(1.0), "held": always(0.9)}, always(0.95)),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_images_counted_are_images_drawn(outcome: str) -> None:
    curves, kept = OUTCOMES[outcome]
    trial = KnownTrial(curves, kept=kept)
    found = answer(trial, ["tune"], ["held"])
    assert (found.alpha is None) == (outcome != "found")
    assert found.images == trial.drawn


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_the_curve_is_json(outcome: str) -> None:
    curves, kept = OUTCOMES[outcome]
    found = answer(KnownTrial(curves, kept=kept), ["tune"], ["held"])
    content = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert content["feasible"] == (content["alpha"] is not None) == (outcome == "found")
    assert content["reason"] == found.reason
    assert [step["worst"] for step in content["tested"]] == [tested.worst for tested in found.tested]
    assert content["base_control"]["trials"] == Strength().control_images


def test_every_step_is_yielded() -> None:
    steps = list(search_strength(KnownTrial({"v": falling(1.0)}), ["v"], ["v"], Strength()))
    assert [len(step.tested) for step in steps[:-1]] == list(range(1, len(steps)))
    assert all(step.alpha is None for step in steps[:-1])
