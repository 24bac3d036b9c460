"""Repair gives back what the edit took from everything else, and leaves what it took from the concept."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tverase.bounds import Bound
from tverase.concepts import halves, joint
from tverase.models.base import Model, repeated
from tverase.models.text2image import TextToImage
from tverase.repair import Lessons, Repair, Repaired, repair
from tverase.rng import generator
from tverase.strength import Look, first_that_erases
from tverase.vector import TaskVector, weights_hash
from tverase.world.concepts import concept
from tverase.world.vocabulary import vocabulary

SETTINGS = Repair(steps=12, batch=8, lr=1e-3, start=1.0)
ALPHA = 2.0


@pytest.fixture(scope="module")
def lessons(pico: TextToImage) -> Lessons:
    rng = generator(0, "tests/repair")
    control, gone = pico.start(8, rng), pico.start(8, rng)
    names = ["a cat", "a dog", "a cake", "a boat", "a tree", "a star", "a book", "a ball"]
    return Lessons(control, pico.encode(names), gone, pico.encode(["a bomb", "a noto bomb"]))


@pytest.fixture(scope="module")
def vector(pico: TextToImage) -> TaskVector:
    """A vector that does harm everywhere, as one of random numbers does."""
    rng = generator(0, "tests/repair/vector")
    delta = {key: 0.02 * torch.randn(weight.shape, generator=rng) for key, weight in pico.weights().items()}
    return TaskVector(delta, weights_hash(pico.weights()), {"concept": "bomb"})


def apart(one: TextToImage, other: TextToImage, latents: Tensor, cond: Tensor) -> float:
    """How differently two models answer, at a few noise levels."""
    noise = torch.randn(latents.shape, generator=generator(1, "tests/repair/noise"))
    total = 0.0
    for level in (100, 500, 900):
        when = torch.full((len(latents),), level)
        noised = one.noise.corrupt(latents, when, noise)
        with torch.no_grad():
            total += float((one.denoise(noised, when, cond) - other.denoise(noised, when, cond)).square().mean())
    return total


def last(steps: list[Repaired]) -> TaskVector:
    return steps[-1].vector


def edited(model: TextToImage, vector: TaskVector) -> TextToImage:
    return model.with_weights(vector.apply(model.weights(), ALPHA))


def test_everything_else_comes_back_and_the_concept_does_not(
    pico: TextToImage, vector: TaskVector, lessons: Lessons
) -> None:
    plain = edited(pico, vector)
    better = edited(pico, last(list(repair(pico, vector, ALPHA, lessons, SETTINGS, 0))))
    control, gone = lessons.control_latents, lessons.concept_latents
    cond = repeated(lessons.concept_cond[:1], len(gone))
    harm = apart(pico, plain, control, lessons.control_cond)
    assert apart(pico, better, control, lessons.control_cond) < 0.8 * harm
    assert apart(plain, better, gone, cond) < apart(plain, pico, gone, cond)


def test_a_repair_from_the_base_model_unlearns_the_concept(
    pico: TextToImage, vector: TaskVector, lessons: Lessons
) -> None:
    """It goes towards the edited model where that erases, and does less harm than the edit elsewhere."""
    plain, settings = edited(pico, vector), SETTINGS.model_copy(update={"start": 0.0, "steps": 40})
    taught = edited(pico, last(list(repair(pico, vector, ALPHA, lessons, settings, 0))))
    control, gone = lessons.control_latents, lessons.concept_latents
    cond = repeated(lessons.concept_cond[:1], len(gone))
    assert apart(plain, taught, gone, cond) < 0.8 * apart(plain, pico, gone, cond)
    assert apart(pico, taught, control, lessons.control_cond) < apart(pico, plain, control, lessons.control_cond)


def test_what_is_taught_at_a_part_of_the_change_erases_better_there(
    pico: TextToImage, vector: TaskVector, lessons: Lessons
) -> None:
    """Of three repairs of the same edit, looked at with half of the change: the more was taught there, the nearer."""
    plain, share = edited(pico, vector), 0.5
    cond = repeated(lessons.concept_cond[:1], len(lessons.concept_latents))
    left = []
    for taught in ((1.0, 1.0), (0.5, 1.0), (0.5, 0.5)):
        settings = SETTINGS.model_copy(update={"start": 0.0, "steps": 40, "taught": taught})
        found = last(list(repair(pico, vector, ALPHA, lessons, settings, 0)))
        left.append(apart(plain, edited(pico, share * found), lessons.concept_latents, cond))
    assert left[0] > left[1] > left[2]


def test_without_a_hold_the_concept_comes_back_further(pico: TextToImage, vector: TaskVector, lessons: Lessons) -> None:
    cond = repeated(lessons.concept_cond[:1], len(lessons.concept_latents))
    plain, loose = edited(pico, vector), SETTINGS.model_copy(update={"hold": 1e-6})
    moved = [
        apart(
            plain, edited(pico, last(list(repair(pico, vector, ALPHA, lessons, s, 0)))), lessons.concept_latents, cond
        )
        for s in (SETTINGS, loose)
    ]
    assert moved[0] < moved[1]


def test_it_is_a_vector_of_the_same_base(pico: TextToImage, vector: TaskVector, lessons: Lessons) -> None:
    before = weights_hash(pico.weights())
    steps = list(repair(pico, vector, ALPHA, lessons, SETTINGS.model_copy(update={"steps": 2}), 0))
    assert [step.number for step in steps] == [1, 2]
    found = last(steps)
    assert (found.base, found.about, found.delta.keys()) == (vector.base, vector.about, vector.delta.keys())
    assert before == weights_hash(pico.weights())


def test_only_what_the_vector_edits_is_repaired(pico: TextToImage, vector: TaskVector, lessons: Lessons) -> None:
    part = vector.restrict(lambda key: key.startswith("mid_block"))
    found = last(list(repair(pico, part, ALPHA, lessons, SETTINGS.model_copy(update={"steps": 2}), 0)))
    assert found.delta.keys() == part.delta.keys()


def test_a_repair_that_was_stopped_goes_on_exactly(
    pico: TextToImage, vector: TaskVector, lessons: Lessons, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tverase.repair.CHECKPOINT_EVERY", 2)
    settings, kept = SETTINGS.model_copy(update={"steps": 4}), tmp_path / "kept.safetensors"
    whole = last(list(repair(pico, vector, ALPHA, lessons, settings, 0)))
    for step in repair(pico, vector, ALPHA, lessons, settings, 0, kept):
        if step.number == 3:
            break
    rest = list(repair(pico, vector, ALPHA, lessons, settings, 0, kept))
    assert [step.number for step in rest] == [3, 4]
    assert all(torch.equal(change, last(rest).delta[key]) for key, change in whole.delta.items())
    other = last(list(repair(pico, vector, ALPHA, lessons, settings, 1)))
    assert (whole - other).norm() > 0


def test_rounds_are_spread_over_the_steps() -> None:
    settings = Repair(steps=200, rounds=3)
    assert {settings.round_at(step): step for step in range(200)} | {None: 0} == {0: 50, 1: 100, 2: 150, None: 0}
    assert {Repair(steps=200, rounds=0).round_at(step) for step in range(200)} == {None}


def test_what_a_round_finds_is_held_and_survives_a_stop(
    pico: TextToImage, vector: TaskVector, lessons: Lessons, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tverase.repair.CHECKPOINT_EVERY", 3)
    settings, kept = SETTINGS.model_copy(update={"steps": 6, "rounds": 2}), tmp_path / "kept.safetensors"
    asked: list[int] = []

    def learn(model: Model, number: int) -> Tensor:
        asked.append(number)
        return pico.encode([f"a {number}"] * 8)

    plain = last(list(repair(pico, vector, ALPHA, lessons, settings, 0)))
    whole = last(list(repair(pico, vector, ALPHA, lessons, settings, 0, None, learn)))
    assert (asked, (plain - whole).norm() > 0) == ([0, 1], True)
    for step in repair(pico, vector, ALPHA, lessons, settings, 0, kept, learn):
        if step.number == 3:
            break
    rest = last(list(repair(pico, vector, ALPHA, lessons, settings, 0, kept, learn)))
    assert asked == [0, 1, 0, 1], "the first round is not asked for again"
    assert all(torch.equal(change, rest.delta[key]) for key, change in whole.delta.items())


def test_rounds_attack_shares_of_the_change_so_far(pico: TextToImage, vector: TaskVector, lessons: Lessons) -> None:
    """The whole of it, half of it, the whole again."""
    settings = SETTINGS.model_copy(update={"steps": 4, "rounds": 3, "attacked": (1.0, 0.5), "lr": 1e-12})
    seen = list[float]()

    def learn(model: Model, number: int) -> Tensor:
        moved = TaskVector.between(pico.weights(), model.weights()).norm()
        seen.append(round(float(moved / (ALPHA * vector.norm())), 2))
        return pico.encode(["a"])

    list(repair(pico, vector, ALPHA, lessons, settings, 0, None, learn))
    assert seen == [1.0, 0.5, 1.0]


def test_a_repair_of_no_steps_yields_nothing(pico: TextToImage, vector: TaskVector, lessons: Lessons) -> None:
    assert list(repair(pico, vector, ALPHA, lessons, SETTINGS.model_copy(update={"steps": 0}), 0)) == []


def test_a_sample_keeps_prompt_and_image_together(pico: TextToImage, vector: TaskVector, lessons: Lessons) -> None:
    """With every control prompt swapped the repair learns something else."""
    swapped = replace(lessons, control_cond=lessons.control_cond.flip(0))
    settings = SETTINGS.model_copy(update={"steps": 2})
    one, other = (last(list(repair(pico, vector, ALPHA, found, settings, 0))) for found in (lessons, swapped))
    assert (one - other).norm() > 0


@pytest.mark.parametrize("names", [["bomb"], ["noto"], ["bomb", "noto"]])
def test_what_tunes_and_what_scores_share_no_prompt(names: list[str]) -> None:
    words = vocabulary()
    gone = [concept(name, words) for name in names]
    tuning, scoring = halves(gone)
    assert {*tuning, *scoring} == set(joint(gone))
    assert set(tuning).isdisjoint(scoring)
    assert abs(len(tuning) - len(scoring)) <= max(len(words.names), len(words.styles))
    for half in (tuning, scoring):
        assert {p.labels[1] for p in half} == set(words.styles) - set(names)
        assert {p.labels[0] for p in half} == set(words.names) - set(names)
    assert halves(gone) == (tuning, scoring)


class Counted:
    """A trial in which the worst input is drawn in as many images as a table says; it keeps what it was asked."""

    def __init__(self, hits: dict[float, int]) -> None:
        self.hits, self.asked = hits, list[float]()

    def recovery(self, alpha: float, inputs: Sequence[str], images: int) -> list[int]:
        self.asked.append(alpha)
        return [0] * (len(inputs) - 1) + [min(images, self.hits[alpha])]

    def control(self, alpha: float, images: int) -> Bound:
        raise AssertionError("control says nothing about what erases")


@pytest.mark.parametrize(
    ("hits", "wanted", "asked"),
    [
        ({2: 0, 3: 0, 4: 0}, 2, [2]),
        ({2: 1, 3: 0, 4: 0}, 2, [2]),  # 1 of 12 is no more than a tenth
        ({2: 2, 3: 1, 4: 0}, 3, [2, 3]),
        ({2: 12, 3: 12, 4: 1}, 4, [2, 3, 4]),
        ({2: 12, 3: 12, 4: 2}, None, [2, 3, 4]),
    ],
)
def test_what_is_repaired_is_the_first_strength_that_erases(
    hits: dict[float, int], wanted: float | None, asked: list[float]
) -> None:
    trial = Counted(hits)
    looks = first_that_erases(trial, ["name", "worst"], (2, 3, 4), 12)
    assert chosen(looks) == wanted
    assert [look.alpha for look in looks] == trial.asked == asked
    assert [look.tuned for look in looks] == [{"name": (0, 12), "worst": (hits[look.alpha], 12)} for look in looks]


def chosen(looks: Sequence[Look]) -> float | None:
    assert not any(look.erases for look in looks[:-1])
    return looks[-1].alpha if looks[-1].erases else None


@pytest.mark.parametrize(("words", "hits", "wanted"), [(8, 1, 2), (8, 2, 3), (40, 2, 2), (40, 3, 3), (400, 3, 3)])
def test_many_learned_words_do_not_hide_one(words: int, hits: int, wanted: float) -> None:
    """Of several concepts: one in a hundred of all images is a third of those of a single word."""
    trial = Counted({2: 0, 3: 0})

    def learn(alpha: float, number: int) -> list[str]:
        trial.hits[alpha] = hits if alpha == 2 else 0
        return [f"word {n}" for n in range(words)]

    looks = first_that_erases(trial, ["name"], (2, 3), 12, learn)
    assert chosen(looks) == wanted
    assert list(looks[0].learned.values()) == [*[(0, 24)] * (words - 1), (hits, 24)]


def test_the_repaired_vector_is_scaled_by_the_strength_that_was_repaired(
    pico: TextToImage, vector: TaskVector, lessons: Lessons
) -> None:
    """With steps too small to change anything, what comes out is where it began, at any strength."""
    for start in (0.0, 0.25, 1.0):
        still = SETTINGS.model_copy(update={"steps": 1, "lr": 1e-12, "start": start})
        for alpha in (0.5, 2.0, 6.0):
            same = last(list(repair(pico, vector, alpha, lessons, still, 0)))
            assert (same - start * vector).norm() < 1e-3 * vector.norm()
