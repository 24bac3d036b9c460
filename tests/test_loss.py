"""What everything else loses: the difference of two rates on the same prompts, and its interval."""

from typing import Any

import torch
from made_up import WORDS
from torch import Tensor

from tverase.concepts import Prompt
from tverase.evaluate import Control
from tverase.rng import generator
from tverase.summary import summary
from tverase.world.concepts import concept

BOMB = concept("bomb", WORDS)


def paired(base: Tensor, erased: Tensor) -> dict[str, Any]:
    """The summary's comparison of two models that get these objects right, and every style."""
    fine, prompts = torch.ones_like(base), (Prompt("a noto owl", ("owl", "noto")),) * len(base)
    wanted = {"object": [("owl",)] * len(base), "style": [("noto",)] * len(base)}
    seen = {"object": base, "style": fine}, {"object": erased, "style": fine}
    made_up = Control(prompts, wanted, *seen, torch.zeros(0), torch.zeros(0))
    found: dict[str, Any] = summary([], made_up, [BOMB])["control"]["all"]
    return found


def test_the_loss_is_the_difference_of_both_rates() -> None:
    base = torch.tensor([True] * 90 + [False] * 10)
    erased = torch.tensor([True] * 70 + [False] * 20 + [True] * 4 + [False] * 6)  # 20 lost, 4 won
    found = paired(base, erased)
    assert (found["base"]["rate"], found["erased"]["rate"], found["loss"]) == (0.9, 0.74, 0.16)
    assert 0 < found["loss_low"] < 0.16 < found["loss_high"] < 0.35


def test_the_interval_of_the_loss_holds_as_often_as_it_says() -> None:
    """Pairs of known rates: of 100 intervals at 95%, no more than one in twenty misses the true loss."""
    noise, missed = generator(0, "tests/evaluate/loss"), 0
    for _ in range(100):
        chance = torch.rand(80, generator=noise)
        base, erased = chance < 0.8, (chance > 0.1) & (chance < 0.85)  # 10% lost, 5% won
        found = paired(base, erased)
        missed += not found["loss_low"] <= 0.05 <= found["loss_high"]
    assert missed <= 5
