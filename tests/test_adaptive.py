"""Adaptive rounds: a strength stands when what is learned against the model at that strength fails as well."""

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from coins import Curve, KnownTrial, Scripted, always, falling
from witness import SeesAll

from tverase.adaptive import learner
from tverase.attacks.concept_inversion import ConceptInversion
from tverase.concepts import Concept
from tverase.concepts.resolve import resolve
from tverase.inversion.diverse import Invert
from tverase.inversion.sets import InversionSet
from tverase.models.text2image import TextToImage
from tverase.rng import generator
from tverase.sampling import Sampling
from tverase.strength import Learn, Strength, StrengthCurve, first_that_erases
from tverase.strength_search import search_strength
from tverase.trial import Inputs, ModelTrial
from tverase.vector import TaskVector


@dataclass
class Learner:
    """Each round learns one input, whose recovery falls with alpha like `curve`."""

    trial: KnownTrial
    curve: Curve
    asked: list[float] = field(default_factory=list)

    def __call__(self, alpha: float, number: int) -> list[str]:
        self.asked.append(alpha)
        self.trial.curves[f"learned {number}"] = self.curve
        return [f"learned {number}"]


def answer(trial: KnownTrial, learn: Learner | None, first: float = 2.0, **settings: object) -> StrengthCurve:
    *_, last = search_strength(trial, ["v"], ["w"], Strength.model_validate(settings), first, learn)
    return last


def world() -> dict[str, Curve]:
    return {"v": falling(1.0, 0.02), "w": falling(1.0, 0.02)}


def test_what_is_learned_raises_the_strength_until_a_whole_round_finds_nothing() -> None:
    plain = answer(Scripted(world()), None)
    trial = Scripted(world())
    learn = Learner(trial, falling(1.6, 0.02))
    found = answer(trial, learn)
    assert plain.alpha is not None
    assert found.alpha is not None
    assert plain.alpha < 1.6 < found.alpha <= 2.0
    last = found.tested[-1]
    assert (last.role, last.safe, last.alpha) == ("adaptive", True, found.alpha)
    assert learn.asked[0] == min(t.alpha for t in found.tested if t.safe and t.role == "tune")
    assert learn.asked[-1] == found.alpha
    rounds = len(learn.asked)
    assert {"w", *(f"learned {n}" for n in range(rounds))} == set(last.counts)  # earlier rounds stay on trial


def test_below_a_strength_that_is_broken_nothing_is_looked_for() -> None:
    """What tunes would allow a quarter of it; the search draws nothing there, and the climb begins where it was broken."""
    trial = Scripted({"v": falling(0.4, 0.02), "w": falling(0.4, 0.02)})
    learn = Learner(trial, falling(1.6, 0.02))
    found = answer(trial, learn)
    assert [(t.alpha, t.role, t.safe) for t in found.tested] == [
        (2.0, "tune", True),
        (1.0, "tune", True),
        (1.0, "adaptive", False),
        (1.5, "adaptive", False),
        (1.75, "adaptive", True),
    ]
    assert learn.asked == [1.0, 1.5, 1.75]
    assert set(found.tested[2].counts) == {"learned 0"}
    assert set(found.tested[-1].counts) == {"w", "learned 0", "learned 1", "learned 2"}
    assert found.alpha == 1.75


def test_a_round_that_finds_nothing_leaves_the_strength_as_it_is() -> None:
    plain, trial = answer(Scripted(world()), None), Scripted(world())
    found = answer(trial, Learner(trial, always(0.0)))
    assert found.alpha == plain.alpha
    roles = [t.role for t in found.tested]
    assert roles.count("adaptive") == 2  # at the first strength that was found safe, and at the answer
    assert roles[-1] == "adaptive"


def test_of_a_repaired_vector_the_first_strength_that_stands_ends_the_descent() -> None:
    trial = Scripted(world())
    learn = Learner(trial, always(0.0))
    *_, found = search_strength(trial, ["v"], ["w"], Strength(margin=0, least=0), learn=learn, repaired=4.0)
    assert [(t.alpha, t.role) for t in found.tested] == [
        (4.0, "tune"),
        (2.0, "tune"),
        (2.0, "adaptive"),
        (2.0, "validate"),
        (2.0, "adaptive"),
    ]
    assert found.alpha == 2.0


@pytest.mark.parametrize(
    ("margin", "least", "strengths"),
    [
        (0.25, 0.75, [4.0, 2.75]),  # 2.67 and its margin are 3
        (0.0, 0.75, [4.0, 3.0]),
        (0.25, 1.0, [4.0]),
        (0.25, 0.5, [4.0, 2.0]),  # half is more than a third
        (0.5, 0.5, [4.0, 2.0]),
        (1.0, 1.0, [4.0, 2.0]),
    ],
)
def test_a_descent_begins_no_lower_than_its_margin_makes_up(
    margin: float, least: float, strengths: list[float]
) -> None:
    """What stands at once is never lifted further than by its margin."""
    trial = Scripted(world())
    settings = Strength(margin=margin, least=least)
    *_, found = search_strength(trial, ["v"], ["w"], settings, learn=Learner(trial, always(0.0)), repaired=4.0)
    assert [t.alpha for t in found.tested if t.role == "tune"] == strengths
    assert found.safe_alpha == strengths[-1]
    assert found.alpha == math.ceil(8 * (strengths[-1] + margin * (4.0 - strengths[-1]))) / 8


@pytest.mark.parametrize("learned", [True, False])
def test_nothing_is_tried_that_its_margin_could_not_make_up(learned: bool) -> None:
    """Not without words either, nor if only strengths below it are allowed."""
    for most in (8.0, 2.0):
        trial = Scripted(world())
        learn = Learner(trial, always(0.0)) if learned else None
        *_, found = search_strength(trial, ["v"], ["w"], Strength(alpha_max=most), learn=learn, repaired=4.0)
        assert min(trial.alphas) == found.safe_alpha == min(2.75, most)
        assert ("of those that are tried" in found.reason) == (most == 8.0)


def test_a_climb_ends_at_the_largest_strength() -> None:
    """Half way to the repaired strength lies above it."""
    trial = Scripted({"v": falling(1.0, 0.02), "w": falling(1.0, 0.02)})
    settings = Strength(alpha_max=3.0, margin=0, least=0)
    *_, found = search_strength(trial, ["v"], ["w"], settings, learn=Learner(trial, falling(2.95, 0.001)), repaired=8.0)
    assert max(t.alpha for t in found.tested) == 3.0
    assert found.alpha == 3.0


def test_what_fails_where_a_descent_begins_is_searched_from_there_upwards() -> None:
    trial = Scripted({"v": falling(3.2, 0.02), "w": falling(1.0, 0.02)})
    *_, found = search_strength(trial, ["v"], ["w"], Strength(), learn=Learner(trial, always(0.0)), repaired=4.0)
    assert [(t.alpha, t.safe) for t in found.tested if t.role == "tune"] == [(4.0, True), (2.75, False), (3.375, True)]
    assert found.safe_alpha == 3.375


def test_what_never_fails_is_infeasible_and_names_what_was_learned() -> None:
    trial = Scripted(world())
    found = answer(trial, Learner(trial, always(0.9)), adaptive=3)
    assert found.alpha is None
    assert found.safe_alpha == found.tested[-1].alpha
    assert "what is learned against the model still draws the concept" in found.reason
    assert [t.role for t in found.tested].count("adaptive") == 1 + 3
    assert found.tested[-1].worst.startswith("learned")
    assert found.control is not None  # the frontier needs it


def test_no_strength_beyond_the_largest_is_tried() -> None:
    trial = Scripted(world())
    found = answer(trial, Learner(trial, always(0.9)), alpha_max=1.5, adaptive=20)
    assert found.alpha is None
    assert max(trial.alphas) <= 1.5


def test_the_climb_goes_towards_the_first_guess_of_the_settings() -> None:
    """Not towards the one that only stands in for it."""
    trial = Scripted(world())
    learn = Learner(trial, always(0.9))
    *_, last = search_strength(trial, ["v"], ["w"], Strength(first=4.0, adaptive=2), 1.0, learn)
    start = learn.asked[0]
    assert last.alpha is None
    assert learn.asked[1] - start == pytest.approx((4.0 - start) / 2, abs=0.125)


@pytest.mark.parametrize(
    ("margin", "least", "alpha"),
    [
        (0.0, 0.0, 1.75),
        (0.5, 0.0, 2.875),
        (0.55, 0.0, 3.0),
        (0.25, 0.75, 3.0),
        (0.0, 0.76, 3.125),
        (0.75, 0.75, 3.5),
        (1.0, 0.0, 4.0),
    ],
)
def test_a_margin_goes_towards_the_strength_that_was_repaired(margin: float, least: float, alpha: float) -> None:
    """From the smallest strength that stands, upwards on the grid; the control is that of the strength with its margin."""
    weighed: list[float] = []

    def kept(at: float) -> float:
        weighed.append(at)
        return 0.95

    trial = Scripted(world(), kept=kept)
    learn = Learner(trial, falling(1.6, 0.02))
    settings = Strength(margin=margin, least=least, first=2.0)
    *_, found = search_strength(trial, ["v"], ["w"], settings, 4.0, learn, 4.0)
    assert (found.alpha, found.safe_alpha) == (alpha, 1.75)
    assert weighed == [0.0, alpha]
    assert ("1.75 is the smallest alpha" in found.reason) == (alpha > 1.75)


def test_a_margin_that_costs_too_much_is_left_out() -> None:
    trial, how = Scripted(world(), kept=lambda at: 0.95 if at < 1.5 else 0.4), {"delta": 0.25, "first": 2.0}
    *_, found = search_strength(trial, ["v"], ["w"], Strength(**how), 4.0, None, 4.0)
    same = Scripted(world(), kept=trial.kept)
    *_, bare = search_strength(same, ["v"], ["w"], Strength(margin=0, least=0, **how), 4.0, None, 4.0)
    assert found.alpha == found.safe_alpha == bare.alpha
    # Three quarters of 4 were tried, and the margin alone.
    assert found.images == bare.images + 2 * Strength().control_images
    assert found.reason == bare.reason == "the smallest alpha that meets both bounds"
    *refused, stands = found.as_dict()["weighed"]  # which strength.json has, too
    assert [one["alpha"] for one in refused] == [3.0, 1.875]
    assert all("more than delta" in one["fault"] and one["control"]["rate"] < 0.5 for one in refused)
    assert (stands["alpha"], stands["fault"]) == (found.alpha, "")


def test_a_margin_that_costs_too_much_is_made_smaller() -> None:
    """Three quarters of 4 cost too much, a quarter of the way does not."""
    trial = Scripted(world(), kept=lambda at: 0.95 if at < 2.5 else 0.4)
    *_, found = search_strength(trial, ["v"], ["w"], Strength(delta=0.25, first=2.0), 4.0, None, 4.0)
    assert (found.safe_alpha, found.alpha) == (1.125, 1.875)


def test_there_is_no_margin_where_nothing_was_repaired_or_nothing_stands() -> None:
    plain = answer(Scripted(world()), None)
    *_, weaker = search_strength(Scripted(world()), ["v"], ["w"], Strength(), 2.0, None, 0.5)
    assert plain.alpha == plain.safe_alpha == weaker.alpha
    trial = Scripted(world())
    *_, broken = search_strength(trial, ["v"], ["w"], Strength(adaptive=1), 4.0, Learner(trial, always(0.9)), 4.0)
    assert broken.alpha is None
    assert broken.safe_alpha == broken.tested[-1].alpha


def test_without_adaptive_rounds_nothing_is_learned() -> None:
    trial = Scripted(world())
    learn = Learner(trial, always(0.9))
    assert answer(trial, learn, adaptive=0).alpha == answer(Scripted(world()), None, adaptive=0).alpha
    assert not learn.asked


@pytest.mark.parametrize(("learned", "expected"), [(0.0, 1.5), (0.5, 2.0)])
def test_an_edit_to_repair_has_to_withstand_what_is_learned(learned: float, expected: float) -> None:
    trial = KnownTrial({"v": falling(1.0, 0.02)}, rng=np.random.default_rng(0))
    learn = Learner(trial, lambda alpha: learned if alpha < 1.75 else 0.0)
    *_, last = first_that_erases(trial, ["v"], (0.5, 1.5, 2.0, 4.0), 12, learn)
    assert (last.alpha, last.erases, 0.5 in learn.asked) == (expected, True, False)  # 0.5 fails before
    assert not first_that_erases(trial, ["v"], (0.1, 0.5), 12, learn)[-1].erases


def test_learned_words_become_inputs_of_the_trial(pico: TextToImage) -> None:
    bomb = resolve("bomb").concepts[0]
    nothing = InversionSet(torch.zeros(0, 4), (), "a {}")
    inputs = Inputs.of(pico, [bomb], {"tune": nothing}, Invert())
    rng = generator(0, "tests/adaptive")
    delta = {key: 0.05 * torch.randn(weight.shape, generator=rng) for key, weight in pico.weights().items()}
    trial = ModelTrial(pico, TaskVector(delta), inputs, (), SeesAll(), Sampling(steps=1), 0)
    latents = {"bomb": pico.start(4, rng)}
    learn = learner(trial, [bomb], latents, [ConceptInversion(words=2, steps=2, batch=1)], Invert())
    first, again, weaker = learn(1.0, 0), learn(1.0, 1), learn(0.5, 2)
    assert first == ["bomb/learned/0/1/0", "bomb/learned/0/1/1"]
    assert trial.recovery(1.0, [*first, *again], 3) == [3, 3, 3, 3]
    conds = [torch.cat([trial.inputs.cond[name] for name in names]) for names in (first, again, weaker)]
    assert conds[0].shape == (2, *pico.null.shape[1:])
    assert not torch.equal(conds[0], conds[1])  # each round has starts and noise of its own
    assert trial.inputs.concept[first[0]] is bomb
    assert first[0] not in trial.inputs.names["tune"]
    both = learner(trial, [bomb], latents, [ConceptInversion(words=1, steps=2, batch=1)], Invert(), (0.5, 1.0))
    assert both(1.0, 3) == ["bomb/learned/3/0.5/0", "bomb/learned/3/1/0"]  # a word against each share
    alone = learner(trial, [bomb], latents, [ConceptInversion(words=1, steps=2, batch=1)], Invert(), (0.25,))
    (again_weaker,) = alone(2.0, 3)  # a quarter of 2 is half of 1
    mixed = trial.inputs.cond["bomb/learned/3/0.5/0"]
    assert mixed.shape == trial.inputs.cond[again_weaker].shape
    assert not torch.equal(mixed, trial.inputs.cond["bomb/learned/3/1/0"])
    three, none = (attack_of(trial, bomb, latents, count) for count in (2, 0))
    assert three(1.0, 4) == [f"bomb/learned/4/{share}/{word}" for share in ("0.5", "1") for word in (0, 1)]
    assert none(1.0, 5) == []


def attack_of(trial: ModelTrial, wanted: Concept, latents: dict[str, torch.Tensor], words: int) -> Learn:
    return learner(trial, [wanted], latents, [ConceptInversion(words=words, steps=1, batch=1)], Invert(), (0.5, 1.0))


def test_without_attacks_there_are_no_adaptive_rounds() -> None:
    trial = Scripted(world())
    learn = Learner(trial, always(0.9))
    found = answer(trial, learn, attacks=[])
    assert found.alpha == answer(Scripted(world()), None).alpha
    assert learn.asked == []
