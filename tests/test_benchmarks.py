"""What the measures say of a run, by numbers that are made up."""

from typing import Any

import pytest
import torch

from benchmarks.interference import AFTER, more
from benchmarks.inversion_options import Found, nearest
from benchmarks.method import mean_loss


def drawn(**rates: tuple[float, float]) -> dict[str, dict[str, Any]]:
    """By name, and by the worst embedding and word alike."""
    return {
        which.replace("_", " "): {"name": {"rate": n}, "worst": {"rate": w}, "word": {"rate": w}}
        for which, (n, w) in rates.items()
    }


def test_a_concept_that_comes_back_by_the_erasure_of_others_is_seen() -> None:
    alone = drawn(without_it=(0.0, 0.1), without_the_others=(1.0, 1.0))
    assert more(alone | drawn(without_all=(0.0, 0.05)) | {AFTER: alone["without it"]}) == 0.0
    assert more(alone | drawn(without_all=(0.3, 0.1)) | {AFTER: alone["without it"]}) == pytest.approx(0.3)
    later = drawn(later=(0.0, 0.5))["later"]
    assert more(alone | drawn(without_all=(0.0, 0.1)) | {AFTER: later}) == pytest.approx(0.4)


def test_neighbours_are_weighed_by_their_images() -> None:
    def pair(base: int, erased: int, trials: int) -> dict[str, Any]:
        return {"base": {"successes": base, "trials": trials}, "erased": {"successes": erased, "trials": trials}}

    assert mean_loss([pair(10, 10, 10), pair(30, 10, 30)]) == {"base": 1.0, "erased": 0.5, "images": 40}
    assert mean_loss([]) is None


def test_embeddings_are_alike_across_the_concepts_own() -> None:
    """What they share with it does not count: two of these point the same way beside it, the third the other way."""
    anchor = torch.tensor([2.0, 0.0, 0.0])
    points = torch.tensor([[1.0, 3.0, 0.0], [-5.0, 1.0, 0.0], [9.0, 0.0, -2.0], [1.0, -1.0, 0.0]])
    assert nearest(points, anchor) == pytest.approx([1.0, 1.0, 0.0, 0.0], abs=1e-6)
    assert nearest(points[:1], anchor) == ()


def test_what_options_find_adds_up() -> None:
    both = Found(1, 4, 2, 3, 100, (0.5,)) + Found(3, 4, 0, 3, 300, (0.25, 0.75))
    assert both == Found(4, 8, 2, 6, 400, (0.5, 0.25, 0.75))
    figures = both.figures()
    assert (figures["rate"], figures["alike"], figures["evaluations_per_accepted"]) == (0.5, 0.5, 100)
    assert Found().figures()["evaluations_per_accepted"] is None
