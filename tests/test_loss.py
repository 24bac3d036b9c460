"""The retain loss: the difference of two shares of the same prompts, and its interval."""

from typing import Any

import torch
from made_up import WORDS
from torch import Tensor

from tverase.bounds import paired_difference
from tverase.concepts import Prompt
from tverase.evaluation import RetainSet
from tverase.summary import summary
from tverase.world.concepts import concept

BOMB = concept("bomb", WORDS)


def paired(base: Tensor, erased: Tensor) -> dict[str, Any]:
    """The summary's comparison of two models that get these objects right, and every style."""
    fine, prompts = torch.ones_like(base), (Prompt("a noto owl", ("owl", "noto")),) * len(base)
    wanted = {"object": [("owl",)] * len(base), "style": [("noto",)] * len(base)}
    seen = {"object": base, "style": fine}, {"object": erased, "style": fine}
    made_up = RetainSet(prompts, wanted, *seen, torch.zeros(0), torch.zeros(0))
    found: dict[str, Any] = summary([], made_up, [BOMB])["retain"]["all"]
    return found


def test_the_loss_is_the_difference_of_both_rates() -> None:
    base = torch.tensor([True] * 90 + [False] * 10)
    erased = torch.tensor([True] * 70 + [False] * 20 + [True] * 4 + [False] * 6)  # 20 lost, 4 won
    found = paired(base, erased)
    assert (found["base"]["rate"], found["erased"]["rate"], found["loss"]) == (0.9, 0.74, 0.16)
    assert (found["loss_low"], found["loss_high"]) == tuple(round(end, 4) for end in paired_difference(20, 4, 100))
