"""The strength: explored, then confirmed strongest first, on trials whose true curves are known."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coins import Curve, KnownTrial, Scripted, always, falling

from tverase.checkpoint import Checkpoint
from tverase.config import Params
from tverase.models.base import Meter
from tverase.strength.choose import StrengthChoice, choose, explore
from tverase.strength.settings import ChooseStrength

PLAIN = {"attacks": ()}


def answer(
    trial: KnownTrial, tune: Sequence[str], validate: Sequence[str] = (), teacher: float | None = None, **settings: Any
) -> StrengthChoice:
    *_, last = choose(trial, tune, validate, ChooseStrength(**{**PLAIN, **settings}), teacher)
    return last


def worlds(count: int) -> Any:
    """Random worlds of three inputs that tune and three that are held out, with the largest true recovery by alpha."""
    for run in range(count):
        rng = np.random.default_rng(run)
        names = [f"v{i}" for i in range(6)]
        curves = {name: falling(rng.uniform(0.6, 1.2), rng.uniform(0.04, 0.12)) for name in names}
        yield KnownTrial(curves, rng), names[:3], names[3:], list(curves.values())


def test_the_choice_is_safe_and_close_on_random_worlds() -> None:
    """Of 200 worlds at most 5% have an unsafe answer; a strength is confirmed within a step of what the images can tell."""
    unsafe, images, steps = 0, [], []
    for trial, tune, validate, curves in worlds(200):
        found = answer(trial, tune, validate)
        assert found.alpha is not None
        unsafe += max(curve(found.alpha) for curve in curves) > 0.1
        surely = next(k / 100 for k in range(1000) if max(curve(k / 100) for curve in curves) <= 5e-3)
        steps.append((found.alpha - surely) / found.tested[0].alpha)
        images.append(found.images - 2 * 320)  # without the retain images
    assert unsafe <= 10
    assert np.mean(images) <= 2324  # of the search that this rule replaced, on the same worlds
    assert np.quantile(steps, 0.95) <= 0.125 + 1e-9


@pytest.mark.parametrize("teacher", [2.2, 1.9])
def test_a_hardened_vector_is_confirmed_at_fixed_shares_of_its_teacher(teacher: float) -> None:
    found = answer(Scripted({"t": falling(1.3, 0.01), "v": falling(1.3, 0.01)}), ["t"], ["v"], teacher)
    shares = ChooseStrength().shares
    wanted = [share * teacher for share in shares if share * teacher > 1.3]
    assert [one.alpha for one in found.tested if one.safe] == pytest.approx(wanted)
    assert found.alpha == pytest.approx(wanted[-1])
    assert found.explored == ()
    assert found.below is not None
    assert found.below["alpha"] == pytest.approx(shares[len(wanted)] * teacher)
    assert f"{found.alpha:g} is the smallest strength that was confirmed; at {found.below['alpha']:g}, " in found.reason


def test_a_plain_vector_is_explored_first_and_for_nothing() -> None:
    """Exploration doubles and halves on the inputs that tune; it claims nothing and decides the sequence alone."""
    trial = Scripted({"v": falling(1.0, 0.01), "held": falling(1.0, 0.01)})
    found = answer(trial, ["v"], ["held"], alpha_max=4.0)
    visited = [look.alpha for look in found.explored]
    assert len(visited) == 1 + math.log2(2.0 / 0.125)
    assert all(set(look.counts) == {"v"} for look in found.explored)
    assert found.tested[0].alpha == pytest.approx(2 * 1.125)
    assert found.alpha == pytest.approx(0.5 * 2.25)
    assert found.below is not None
    assert found.below["alpha"] == pytest.approx(1.0)  # explored, not confirmed: the sequence ended by itself above it


@pytest.mark.parametrize("middle", [0.3, 1.0, 2.4, 3.9])
def test_exploration_finds_the_smallest_strength_of_its_grid(middle: float) -> None:
    settings = ChooseStrength(alpha_max=4.0)
    looks = list(explore(Scripted({"v": falling(middle, 0.001)}), ["v"], settings))
    smallest = min(look.alpha for look in looks if look.erases)
    assert middle < smallest <= middle + settings.resolution + 1e-9
    assert max(look.alpha for look in looks) <= 4.0
    assert len({look.alpha for look in looks}) == len(looks)


def test_the_first_strength_that_fails_ends_the_sequence() -> None:
    """Without this rule the error would have to be split: a weaker strength that passes later proves nothing."""

    def broken_in_the_middle(alpha: float) -> float:
        return 0.9 if 2.9 < alpha < 3.1 else 0.0

    found = answer(Scripted({"t": always(0.0), "v": broken_in_the_middle}), ["t"], ["v"], 4.0)
    assert [(one.alpha, one.safe) for one in found.tested] == [(4.0, True), (3.0, False)]
    assert (found.alpha, found.below["alpha"], found.below["worst"]) == (4.0, 3.0, "v")  # type: ignore[index]


def test_the_sequence_errs_no_more_often_than_its_error() -> None:
    """Every strength is just above epsilon: any answer at all is wrong, and there may be one in 5% of worlds."""
    curves = {"t": always(0.0), "v": always(0.105)}
    wrong = sum(
        answer(KnownTrial(curves, np.random.default_rng(run)), ["t"], ["v"], 4.0).alpha is not None
        for run in range(400)
    )
    assert wrong <= 0.05 * 400


def test_the_strongest_may_take_the_whole_of_epsilon() -> None:
    """One input recovers the concept in 1 of 44 images at every strength: above half of epsilon for sure, and below epsilon."""
    found = answer(Scripted({"t": always(0.0), "v": always(1 / 44)}), ["t"], ["v"], 4.0, round=44, rounds=3)
    assert [(one.alpha, one.safe, one.limit) for one in found.tested] == [(4.0, True, 0.1)]
    assert found.alpha == found.smallest == 4.0
    assert (
        "4, the strongest that is tried, was confirmed at the whole of epsilon (v recovers the concept in "
        in found.reason
    )
    assert found.below is None


def test_a_weaker_strength_may_not_take_the_whole_of_epsilon() -> None:
    found = answer(
        Scripted({"t": always(0.0), "v": lambda alpha: 0.0 if alpha > 3.5 else 1 / 44}),
        ["t"],
        ["v"],
        4.0,
        round=44,
        rounds=3,
    )
    assert [(one.alpha, one.safe, one.limit) for one in found.tested] == [(4.0, True, 0.05), (3.0, False, 0.05)]
    assert found.alpha == 4.0


@dataclass
class Attacked(Scripted):
    """Attacks find one input at each strength, which recovers the concept below 3."""

    at: list[float] = field(default_factory=list)

    def attack(self, alpha: float) -> list[str]:
        self.at.append(alpha)
        self.curves[f"found {alpha:g}"] = falling(3.0, 0.001)
        return [f"found {alpha:g}"]


def test_every_strength_is_attacked_afresh() -> None:
    trial = Attacked({"t": always(0.0), "v": always(0.0)})
    found = answer(trial, ["t"], ["v"], 4.0, attacks=ChooseStrength().attacks)
    assert trial.at == [one.alpha for one in found.tested]
    assert (found.alpha, found.below["worst"]) == (4.0, "found 3")  # type: ignore[index]
    last = found.tested[-1]
    assert set(last.counts) == {"found 3"}  # findings are drawn first and end the test


def test_infeasible_when_retain_accuracy_falls() -> None:
    trial = Scripted({"v": falling(1.0, 0.01)}, kept=lambda alpha: 0.95 if alpha < 0.5 else 0.4)
    found = answer(trial, ["v"], ["v"])
    assert found.alpha is None
    assert found.smallest == pytest.approx(1.125)
    assert f"at alpha {found.smallest:g}" in found.reason
    assert "more than delta = 25.0%" in found.reason


def test_infeasible_when_too_few_retain_images_show_that_it_holds() -> None:
    curves, kept = {"v": falling(1.0)}, lambda alpha: 0.95 if alpha == 0 else 0.75
    few, many = (answer(Scripted(curves, kept=kept), ["v"], ["v"], retain_images=count) for count in (8, 2000))
    assert few.alpha is None
    assert many.alpha == few.smallest is not None


def test_infeasible_when_alpha_max_is_too_small() -> None:
    found = answer(Scripted({"good": falling(0.5), "bad": falling(3.0)}), ["good", "bad"], alpha_max=2.0)
    assert (found.alpha, found.smallest, found.tested) == (None, None, ())
    assert "even at alpha_max = 2, bad recovers the concept in" in found.reason


def test_infeasible_when_the_strongest_fails() -> None:
    found = answer(Scripted({"t": falling(0.5), "held": always(0.9)}), ["t"], ["held"], 4.5)
    assert (found.alpha, [one.alpha for one in found.tested], found.below) == (None, [4.5, 6.0], None)
    assert "at alpha 6, the strongest that is tried, held recovers the concept" in found.reason


def test_a_stronger_edit_is_tested_once_if_the_strongest_fails() -> None:
    """It is the answer, and the strongest of the shares is the one below it."""
    found = answer(Scripted({"t": falling(0.5), "held": falling(5.0, 0.01)}), ["t"], ["held"], 4.5)
    assert [(one.alpha, one.safe, one.limit) for one in found.tested] == [(4.5, False, 0.1), (6.0, True, 0.1)]
    assert (found.alpha, found.below["alpha"]) == (6.0, 4.5)  # type: ignore[index]
    assert found.reason.startswith("6, the strongest that is tried, was confirmed at the whole of epsilon (")
    assert "; at 4.5, held recovers the concept in" in found.reason


def test_a_stronger_edit_is_not_beyond_alpha_max() -> None:
    found = answer(Scripted({"t": falling(0.5), "held": falling(6.0, 0.01)}), ["t"], ["held"], 5.0, alpha_max=5.5)
    assert [one.alpha for one in found.tested] == [5.0, 5.5]
    found = answer(Scripted({"t": falling(0.5), "held": falling(6.0, 0.01)}), ["t"], ["held"], 5.0, alpha_max=5.0)
    assert [one.alpha for one in found.tested] == [5.0]


@pytest.mark.parametrize("outcome", ["alpha_max", "strongest"])
def test_the_advice_names_parameters_that_exist(outcome: str) -> None:
    found = answer(Scripted({"v": always(1.0)}), ["v"], ["v"], None if outcome == "alpha_max" else 4.5)
    advised = [word.strip(",.;") for word in found.reason.split() if word.startswith(("choose_strength.", "harden."))]
    assert advised
    for name in advised:
        section, _, key = name.partition(".")
        assert key in type(getattr(Params(), section)).model_fields


def test_too_few_images_to_prove_anything_are_refused_with_the_arithmetic() -> None:
    with pytest.raises(
        ValueError, match=r"epsilon=0\.1 takes 65 images .* round=8 x rounds=2 allows 16; set rounds to 9"
    ):
        ChooseStrength(round=8, rounds=2)


@pytest.mark.parametrize("shares", [(1.0, 1.0), (0.5, 0.75), (1.5, 1.0)])
def test_shares_fall_from_at_most_one(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must fall, from at most 1"):
        ChooseStrength(shares=shares)


@pytest.mark.parametrize("resolution", [0.125, 0.3, 1.5])
@pytest.mark.parametrize("held", [always(0.9), falling(1.0)])
def test_no_alpha_above_alpha_max_is_tried(resolution: float, held: Curve) -> None:
    trial = Scripted({"tune": falling(1.4, 0.01), "held": held})
    answer(trial, ["tune"], ["held"], alpha_max=2.0, resolution=resolution)
    assert max(trial.alphas) <= 2.0


OUTCOMES: dict[str, tuple[dict[str, Curve], Curve]] = {
    "found": ({"tune": falling(1.0, 0.05), "held": falling(1.1, 0.05)}, always(0.95)),
    "retain accuracy falls": ({"tune": falling(1.0), "held": falling(1.1)}, lambda alpha: 0.9 if alpha == 0 else 0.3),
    "alpha_max too small": ({"tune": always(0.9), "held": falling(1.0)}, always(0.95)),
    "held-out inputs disagree": ({"tune": falling(1.0), "held": always(0.9)}, always(0.95)),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_the_choice_is_json_and_counts_the_images_that_were_drawn(outcome: str) -> None:
    curves, kept = OUTCOMES[outcome]
    trial = KnownTrial(curves, kept=kept)
    found = answer(trial, ["tune"], ["held"])
    content = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert content["feasible"] == (content["alpha"] is not None) == (outcome == "found")
    assert content["images"] == trial.drawn
    assert [step["worst"] for step in content["tested"]] == [step.worst for step in found.tested]
    assert content["base_retain"]["trials"] == ChooseStrength().retain_images


def test_a_stopped_choice_continues(tmp_path: Path) -> None:
    """Strengths that were confirmed are not drawn again, and the answer is the same."""

    def curves() -> dict[str, Curve]:
        return {"t": falling(1.3, 0.01), "v": falling(1.3, 0.01)}

    whole_number = always(1.0)
    settings = ChooseStrength(**PLAIN)
    *_, whole = choose(Scripted(curves(), kept=whole_number), ["t"], ["v"], settings, 4.0)
    for step in choose(
        Scripted(curves(), kept=whole_number), ["t"], ["v"], settings, 4.0, Checkpoint(tmp_path, Meter())
    ):
        if len(step.tested) == 2:
            break
    trial = Scripted(curves(), kept=whole_number)
    *_, again = choose(trial, ["t"], ["v"], settings, 4.0, Checkpoint(tmp_path, Meter()))
    assert again == whole
    assert set(trial.alphas) == {one.alpha for one in whole.tested[2:]}
