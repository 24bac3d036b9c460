"""What is kept of a retain prompt: recognised by the judge, or in agreement with the base model's image."""

from dataclasses import replace

import pytest
import torch
from examination import SAMPLING, examiner_of
from torch import Tensor
from witness import SeesAll

from tverase.concepts import Concept, Prompt
from tverase.context import Context
from tverase.errors import ConfigError
from tverase.inversion.diverse import Invert
from tverase.models.base import Meter
from tverase.models.text2image import TextToImage
from tverase.retention import AGREEMENT, agrees, by_axis, kept, thumbnails, wanted
from tverase.rng import generator
from tverase.sampling import draw
from tverase.summary import summary
from tverase.trial import Inputs, ModelTrial, tuning_prompts
from tverase.vector import TaskVector

PLAIN = tuple(Prompt(text, (), role) for role in ("tune", "report") for text in (f"a {role} cat", f"a {role} owl"))
OWL = Concept(name="owl", names=("an owl",), retain=PLAIN)


def pictures(seed: int, count: int = 8) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=generator(seed, "tests/retention")) * 2 - 1


def test_an_image_agrees_with_itself_brighter_or_larger_and_with_no_other() -> None:
    images = pictures(0)
    base = thumbnails(images)
    assert torch.allclose(base.square().sum(1), torch.ones(8))
    assert agrees(images, base).all()
    assert agrees(0.5 * images + 0.3, base).all()
    assert agrees(images.repeat_interleave(2, 2).repeat_interleave(2, 3), base).all()
    assert not agrees(pictures(1), base).any()
    assert not agrees(-images, base).any()
    flat = torch.zeros(2, 3, 32, 32)
    assert agrees(flat, thumbnails(flat + 0.5)).all()
    assert not agrees(images[:2], thumbnails(flat)).any()
    assert not agrees(flat, base[:2]).any()


def test_labels_are_recognised_and_the_rest_compared() -> None:
    images, prompts = pictures(0, 4), (Prompt("a", ("bomb",)), Prompt("b"), Prompt("c", ("none",)), Prompt("d"))
    changed = torch.cat([images[:3], pictures(1, 1)])
    found = by_axis(changed, prompts, SeesAll(), thumbnails(images))
    assert {axis: seen.tolist() for axis, seen in found.items()} == {
        "label": [True, True, False, True], AGREEMENT: [True, True, True, False],
    }  # fmt: skip
    assert kept(changed, prompts, SeesAll(), thumbnails(images)).tolist() == [True, True, False, False]
    assert kept(changed, prompts, SeesAll(), None).tolist() == [True, True, False, True]  # the base model itself
    assert list(wanted(prompts[:1], SeesAll())) == ["label"]
    assert list(wanted(prompts[1:2], SeesAll())) == [AGREEMENT]


def test_a_label_that_the_judge_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown label 'dog'\. There are: bomb, none"):
        kept(pictures(0, 1), [Prompt("a", ("dog",))], SeesAll(), None)


def edited(pico: TextToImage, size: float) -> TaskVector:
    noise = generator(0, "tests/retention/vector")
    return TaskVector(
        {key: size * torch.randn(weight.shape, generator=noise) for key, weight in pico.weights().items()}
    )


def test_a_trial_compares_with_the_base_model(pico: TextToImage) -> None:
    model = replace(pico, meter=Meter())
    context = Context(model, (OWL,), SeesAll(), SAMPLING, Invert(), 0)
    trial = ModelTrial(context, edited(pico, 0.3), Inputs({}, {}, {}), tuning_prompts(context, "tests/retention"))
    assert {prompt.role for prompt in trial.retain_prompts} == {"tune"}
    fresh = replace(trial, _base={}, _retain={})
    base, after = trial.retain_accuracy(0.0, 12), trial.retain_accuracy(1.0, 12)
    assert (base.successes, base.trials) == (12, 12)
    cond = model.encode([trial.retain_prompts[i * 2 // 12].text for i in range(12)])
    images = [draw(trial.at(a), cond, generator(0, "choose_strength/control"), SAMPLING) for a in (0.0, 1.0)]
    expected = int(agrees(images[1], thumbnails(images[0])).sum())
    assert after.successes == expected < 12
    drawn = model.meter.images
    assert fresh.retain_accuracy(1.0, 12) == after  # the base model's images are drawn if nobody has
    assert model.meter.images == drawn + 24
    assert fresh.retain_accuracy(0.5, 12).trials == 12
    assert model.meter.images == drawn + 36


def test_an_evaluation_says_that_it_is_agreement(pico: TextToImage) -> None:
    examiner = replace(examiner_of(pico), judge=SeesAll())
    retain_set = examiner.retain_set([OWL], 10)
    assert {prompt.role for prompt in retain_set.prompts} == {"report"}
    numbers = summary([], retain_set, [])["retain"]
    assert numbers["how"] == "agreement"
    assert list(numbers["axes"]) == [AGREEMENT]
    assert numbers["axes"][AGREEMENT]["by_label"] == {}
    assert numbers["all"]["base"]["successes"] == 10
    expected = int(agrees(retain_set.after, thumbnails(retain_set.before)).sum())
    assert numbers["all"]["erased"]["successes"] == expected
