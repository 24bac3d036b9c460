"""Hardening gives the retain set back, keeps the erasure on the forget set, and stops when no attack recovers the concept."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tverase.checkpoint import Checkpoint
from tverase.concepts import Concept
from tverase.context import Context
from tverase.hardening.distil import Distillation
from tverase.hardening.forget import ForgetRetain
from tverase.hardening.harden import Round, harden
from tverase.hardening.settings import Harden
from tverase.hardening.teacher import Look, teacher_strength
from tverase.inversion.diverse import Invert
from tverase.models.base import Meter, repeated
from tverase.models.text2image import TextToImage
from tverase.rng import generator
from tverase.sampling import Sampling
from tverase.training import Training
from tverase.trial import Inputs
from tverase.vector import TaskVector, weights_hash
from tverase.world.concepts import concept as named
from tverase.world.vocabulary import vocabulary

ALPHA = 2.0
ATTACK = {"kind": "concept-inversion", "words": 2, "steps": 1, "batch": 1}
SETTINGS = Harden(
    max_rounds=3,
    clean_rounds=1,
    steps=3,
    warm_up=1,
    batch=8,
    lr=1e-3,
    inputs=6,
    images=2,
    look=2,
    attacks=(ATTACK,),
    attacked=(0.5, 1.0),
)


def concept(name: str) -> Concept:
    return named(name, vocabulary())


class Sees:
    """A judge of one label: it sees it in every image, or in none."""

    name, classes, accuracy = "sees/1", ("bomb", "cat"), 1.0

    def __init__(self, *answers: bool) -> None:
        self.answers = list(answers)

    def probabilities(self, images: Tensor) -> Tensor:
        sees = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return torch.tensor([[1.0, 0.0]] if sees else [[0.0, 1.0]]).expand(len(images), 2)


@pytest.fixture
def context(pico: TextToImage) -> Context:
    model = replace(pico, meter=Meter())
    return Context(model, (concept("bomb"),), Sees(False), Sampling(steps=2), Invert(), 0)


@pytest.fixture(scope="module")
def data(pico: TextToImage) -> ForgetRetain:
    rng = generator(0, "tests/harden")
    names = ["a cat", "a dog", "a cake", "a boat", "a tree", "a star", "a book", "a ball"]
    retain, forget = pico.start(8, rng), pico.start(8, rng)
    return ForgetRetain(retain, pico.encode(names), {"bomb": forget}, pico.encode(["a bomb", "a noto bomb"]))


@pytest.fixture(scope="module")
def vector(pico: TextToImage) -> TaskVector:
    """A vector that does harm everywhere, as one of random numbers does."""
    rng = generator(0, "tests/harden/vector")
    delta = {key: 0.02 * torch.randn(weight.shape, generator=rng) for key, weight in pico.weights().items()}
    return TaskVector(delta, weights_hash(pico.weights()), {"concept": "bomb"})


def apart(one: TextToImage, other: TextToImage, latents: Tensor, cond: Tensor) -> float:
    """How differently two models answer, at a few noise levels."""
    noise = torch.randn(latents.shape, generator=generator(1, "tests/harden/noise"))
    total = 0.0
    for level in (100, 500, 900):
        when = torch.full((len(latents),), level)
        noised = one.noise.corrupt(latents, when, noise)
        with torch.no_grad():
            total += float((one.denoise(noised, when, cond) - other.denoise(noised, when, cond)).square().mean())
    return total


def edited(model: TextToImage, vector: TaskVector, alpha: float = ALPHA) -> TextToImage:
    return model.with_weights(vector.apply(model.weights(), alpha))


def hardened(context: Context, vector: TaskVector, data: ForgetRetain, **changes: Any) -> list[Round]:
    return list(harden(context, vector, data, SETTINGS.model_copy(update=changes), ALPHA))


def test_it_erases_as_the_edit_does_and_harms_less(context: Context, vector: TaskVector, data: ForgetRetain) -> None:
    model, plain = context.model, edited(context.model, vector)
    (only,) = hardened(context, vector, data, steps=20)
    better, cond = edited(model, only.vector), repeated(data.forget_cond[:1], 8)
    assert apart(plain, better, data.forget_latents["bomb"], cond) < 0.8 * apart(
        plain, model, data.forget_latents["bomb"], cond
    )
    assert apart(model, better, data.retain_latents, data.retain_cond) < apart(
        model, plain, data.retain_latents, data.retain_cond
    )


def test_what_is_taught_at_a_share_of_the_change_erases_better_there(
    context: Context, vector: TaskVector, data: ForgetRetain
) -> None:
    plain, cond, left = edited(context.model, vector), repeated(data.forget_cond[:1], 8), []
    for taught in ((1.0, 1.0), (0.5, 1.0), (0.5, 0.5)):
        (only,) = hardened(context, vector, data, steps=20, taught=taught)
        left.append(apart(plain, edited(context.model, 0.5 * only.vector), data.forget_latents["bomb"], cond))
    assert left[0] > left[1] > left[2]


def test_a_larger_weight_of_the_forget_set_erases_more(
    context: Context, vector: TaskVector, data: ForgetRetain
) -> None:
    plain, cond = edited(context.model, vector), repeated(data.forget_cond[:1], 8)
    moved = [
        apart(
            plain,
            edited(context.model, hardened(context, vector, data, steps=12, forget_weight=weight)[-1].vector),
            data.forget_latents["bomb"],
            cond,
        )
        for weight in (2.0, 1e-6)
    ]
    assert moved[0] < moved[1]


def test_it_is_a_vector_of_the_same_base_and_parameters(
    context: Context, vector: TaskVector, data: ForgetRetain
) -> None:
    before, part = weights_hash(context.model.weights()), vector.restrict(lambda key: key.startswith("mid_block"))
    found = hardened(context, part, data, steps=2)[-1].vector
    assert (found.base, found.about, found.delta.keys()) == (part.base, part.about, part.delta.keys())
    assert before == weights_hash(context.model.weights())


@pytest.mark.parametrize(("answers", "rounds"), [((False,), 1), ((True,), 3)])
def test_it_ends_with_a_clean_round_or_the_last(
    answers: tuple[bool, ...], rounds: int, context: Context, vector: TaskVector, data: ForgetRetain
) -> None:
    done = hardened(replace(context, judge=Sees(*answers)), vector, data, steps=1)
    assert [one.number for one in done] == list(range(1, rounds + 1))
    assert [one.clean for one in done] == [not answers[0]] * rounds
    assert [one.recovered for one in done] == [float(answers[0])] * rounds
    for one in done:
        assert [found.share for found in one.found] == [0.5, 0.5, 1.0, 1.0]
        assert len(one.conditionings) == len(one.found)
        assert {found.images for found in one.found} == {SETTINGS.images}


def test_rounds_in_a_row_have_to_be_clean(context: Context, vector: TaskVector, data: ForgetRetain) -> None:
    """One answer of the judge for each of a round's four findings: clean, not clean, clean, clean."""
    answers = [False] * 4 + [True] * 4 + [False] * 8
    done = hardened(replace(context, judge=Sees(*answers)), vector, data, steps=1, max_rounds=9, clean_rounds=2)
    assert [one.clean for one in done] == [True, False, True, True]


def test_attacks_are_on_shares_of_the_change_and_findings_join_the_forget_set(
    context: Context, vector: TaskVector, data: ForgetRetain, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacked, held = [], []
    from tverase.hardening import harden as module

    def watched(ctx: Context, model: TextToImage, latents: Any, attacks: Any, purpose: str) -> Any:
        attacked.append(model.weights())
        return real(ctx, model, latents, attacks, purpose)

    def step(student: Distillation) -> float:
        held.append(len(student.found))
        return one_step(student)

    real, one_step = module.attack, Distillation.step
    monkeypatch.setattr(module, "attack", watched)
    monkeypatch.setattr(Distillation, "step", step)
    first, second = hardened(replace(context, judge=Sees(True)), vector, data, steps=1, max_rounds=2)
    base, whole = context.model.weights(), edited(context.model, first.vector).weights()
    for weights, share in zip(attacked[:2], (0.5, 1.0), strict=True):
        assert all(torch.allclose(weights[k], torch.lerp(base[k], whole[k], share), atol=1e-5) for k in vector.delta)
    assert held == [0] * (SETTINGS.warm_up + 1) + [SETTINGS.inputs]
    assert {one.name for one in first.found}.isdisjoint(one.name for one in second.found)


@pytest.mark.parametrize("stop", [1, 2])
def test_a_stopped_call_continues_exactly(
    stop: int, context: Context, vector: TaskVector, data: ForgetRetain, tmp_path: Path
) -> None:
    context = replace(context, judge=Sees(True))
    whole = list(harden(context, vector, data, SETTINGS, ALPHA))
    spent = replace(context.model.meter)
    context = replace(context, model=replace(context.model, meter=Meter()))
    for done in harden(context, vector, data, SETTINGS, ALPHA, tmp_path):
        if done.number == stop:
            break
    context = replace(context, model=replace(context.model, meter=Meter()))
    again = list(harden(context, vector, data, SETTINGS, ALPHA, tmp_path))
    assert [one.as_dict() for one in again] == [one.as_dict() for one in whole]
    assert all(torch.equal(again[-1].vector.delta[k], whole[-1].vector.delta[k]) for k in vector.delta)
    assert context.model.meter == spent


def test_a_damaged_round_is_done_again(
    context: Context, vector: TaskVector, data: ForgetRetain, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = list(harden(context, vector, data, SETTINGS, ALPHA, tmp_path))
    (tmp_path / "round-1.safetensors").write_bytes(b"half")
    again = list(harden(context, vector, data, SETTINGS, ALPHA, tmp_path))
    assert [one.as_dict() for one in again] == [one.as_dict() for one in first]
    assert "round-1.json is damaged" in caplog.text


def test_a_checkpoint_without_a_folder_keeps_nothing() -> None:
    kept = Checkpoint(None, Meter())
    kept.put("part", {"a": 1}, kept.begin())
    assert kept.get("part") is None


def test_a_retain_batch_keeps_prompt_and_image_together(
    context: Context, vector: TaskVector, data: ForgetRetain
) -> None:
    settings = SETTINGS.model_copy(update={"uncaptioned": 0.0, "batch": 50})
    training = Training.of(dict(context.model.weights()))
    student = Distillation(context.model, {}, data, settings, training, 0, context.model.null[:0])
    latents, cond = student._retain(generator(0, "tests/batch"))
    for latent, one in zip(latents, cond, strict=True):
        row = next(i for i, other in enumerate(data.retain_latents) if torch.equal(latent, other))
        assert torch.equal(one, data.retain_cond[row])


@pytest.mark.parametrize(
    ("answers", "erases"), [((True, True), [False, False]), ((False, False), [True]), ((True, False), [False, True])]
)
def test_the_teacher_is_the_first_strength_that_erases(
    answers: tuple[bool, ...], erases: list[bool], context: Context, vector: TaskVector, data: ForgetRetain
) -> None:
    inputs = Inputs({}, {}, {})
    inputs.add("tune", "bomb: a bomb", context.concepts[0], context.model.encode(["a bomb"]))
    settings = SETTINGS.model_copy(update={"teachers": (1.0, 2.0)})
    looks = teacher_strength(replace(context, judge=Sees(*answers)), vector, inputs, data, settings)
    assert [look.erases for look in looks] == erases
    assert [look.alpha for look in looks] == [1.0, 2.0][: len(erases)]
    assert bool(looks[-1].found) == erases[-1]  # attacks run only where the inputs that tune fail
    assert list(inputs.names) == ["tune"]  # findings are not added to the caller's inputs


@pytest.mark.parametrize(
    ("found", "hits", "erases"), [(8, 0, True), (8, 1, True), (8, 2, False), (40, 5, True), (40, 10, False)]
)
def test_one_finding_does_not_hide_behind_many(found: int, hits: int, erases: bool) -> None:
    """24 images each: one finding may recover the concept in a tenth of its images, all together in a hundredth."""
    counts = {f"w{i}": (0, 24) for i in range(found)}
    spread = {**counts, **{f"w{i}": (1, 24) for i in range(hits)}}
    assert Look(4.5, {"name": (1, 12)}, spread).erases == erases
    assert not Look(4.5, {"name": (2, 12)}, {}).erases
    assert not Look(4.5, {}, {**counts, "w0": (3, 24)}).erases
