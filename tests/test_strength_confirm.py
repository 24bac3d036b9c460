"""One strength: an input that is clearly safe draws no more, and early stopping changes no verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from coins import Curve, KnownTrial, Scripted, always

from tverase import bounds
from tverase.strength.confirm import Tested as Confirmed
from tverase.strength.confirm import tested as drawn
from tverase.strength.settings import ChooseStrength


@pytest.mark.parametrize("inputs", [1, 2, 8])
def test_a_broken_input_is_never_called_safe(inputs: int) -> None:
    settings = ChooseStrength(epsilon=0.15, confirm_at=1.0)
    curves = {f"v{i}": always(0.16 if i == 0 else 0.0) for i in range(inputs)}
    seen = [
        drawn(KnownTrial(curves, np.random.default_rng(run)), 1.0, list(curves), settings, [settings.limit], ())
        for run in range(300)
    ]
    assert sum(one.safe for one in seen) <= 15
    assert sum(one.upper < 0.16 for one in seen) <= 15


def one(curves: dict[str, Curve], suspects: Sequence[str] = (), **settings: Any) -> Confirmed:
    how = ChooseStrength(**settings)
    return drawn(Scripted(curves), 1.0, list(curves), how, [how.limit], suspects)


@dataclass
class Coins(KnownTrial):
    """Counts that were thrown before: of each round a row, of each input a column."""

    thrown: Any = None

    def recovery(self, alpha: float, inputs: Sequence[str], images: int) -> list[int]:
        super().recovery(alpha, inputs, images)
        return [int(self.thrown[len(self.alphas) - 1, int(name)]) for name in inputs]


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.03, 0.1, 0.3])
def test_stopping_early_changes_no_verdict(rate: float) -> None:
    """Against all rounds of the same coins: an input is safe if it meets epsilon after any round."""
    settings = ChooseStrength(round=16, rounds=8)
    for run in range(60):
        coins = np.random.default_rng(run).binomial(16, rate, (8, 3))
        found = drawn(
            Coins(dict.fromkeys("012", always(rate)), thrown=coins), 1.0, list("012"), settings, [settings.limit], ()
        )
        seen = [list(enumerate(column, 1)) for column in coins.cumsum(0).T]
        best = [min(bounds.sequential_upper(int(hits), 16 * n, settings.error) for n, hits in rows) for rows in seen]
        assert found.safe == (max(best) <= settings.limit)


def test_safe_inputs_stop_costing_images() -> None:
    found = one({"clean": always(0.0), "unsure": always(1 / 32)}, epsilon=0.3, round=32)
    assert found.counts["clean"] == (0, 32)
    assert found.counts["unsure"][1] > 32
    assert found.safe
    assert found.images == sum(images for _, images in found.counts.values())


def test_an_input_that_cannot_be_found_safe_ends_the_test() -> None:
    found = one({"clean": always(0.0), "broken": always(1.0)}, epsilon=0.15, round=16, rounds=4)
    assert found.counts == {"clean": (0, 16), "broken": (16, 16)}
    assert (found.safe, found.worst) == (False, "broken")


def test_suspects_are_drawn_first_and_change_no_verdict() -> None:
    curves: dict[str, Curve] = {"clean": always(0.0), "other": always(0.0), "broken": always(0.75)}
    found = one(curves, ["broken", "unknown"])
    assert (set(found.counts), found.safe, found.worst) == ({"broken"}, False, "broken")
    clean: dict[str, Curve] = {"clean": always(0.0), "other": always(0.0)}
    assert [one(clean, suspects) for suspects in ([], ["clean"])] == [one(clean)] * 2


@pytest.mark.parametrize("error", [0.01, 0.05])
def test_needed_images_are_needed_and_enough(error: float) -> None:
    settings = ChooseStrength(error=error)
    needed = settings.needed
    assert bounds.sequential_upper(0, needed, error) <= settings.limit < bounds.sequential_upper(0, needed - 1, error)
