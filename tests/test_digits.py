"""The digit model keeps a model's contract, is trained and resumed exactly, and the method works on it unchanged."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tverase import training as checkpoints
from tverase.context import Context
from tverase.errors import ConfigError, ModelError
from tverase.finetune import FineTune, fine_tune
from tverase.inversion.diverse import Invert, search
from tverase.judges.base import NONE
from tverase.judges.cnn import CnnJudge, JudgeNet
from tverase.models.base import Meter, uncaptioned
from tverase.models.digits import CLASSES, CODES, Digits, DigitShape, new_digits
from tverase.models.text2image import TextToImage
from tverase.pretrain.digits import DigitMaker, PretrainDigits, train_denoiser, train_judge
from tverase.progress import Progress
from tverase.rng import generator
from tverase.sampling import Sampling, draw
from tverase.spaces import cone
from tverase.training import Training
from tverase.trial import Inputs, ModelTrial
from tverase.vector import TaskVector
from tverase.world.digit_concepts import digit_concept
from tverase.world.mnist import DigitImages

TINY = DigitShape(d=4, widths=(8, 16), groups=4)
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def data() -> DigitImages:
    images = torch.rand(20, 1, 28, 28, generator=generator(0, "tests/digits/images")) * 2 - 1
    return DigitImages(images, torch.arange(20) % 10)


def nudged(model: Digits, by: float = 0.02) -> dict[str, Tensor]:
    rng = generator(0, "tests/digits/nudge")
    return {key: weight + by * torch.randn(weight.shape, generator=rng) for key, weight in model.weights().items()}


def answer(model: Digits, cond: Tensor | None = None) -> Tensor:
    noised = model.start(2, generator(0, "tests/digits/answer"))
    return model.denoise(noised, torch.tensor([500, 20]), model.encode(["3", "8"]) if cond is None else cond)


def test_latents_and_images_are_the_same_thing(digits: Digits) -> None:
    images = torch.rand(3, 1, 28, 28, generator=generator(0, "tests/digits/both")) * 2 - 1
    latents = digits.to_latents(images)
    assert latents.shape == digits.start(3, generator(0, "tests/digits/shape")).shape == (3, 4, 14, 14)
    assert torch.allclose(digits.to_images(latents), images.expand(-1, 3, -1, -1), atol=1e-6)
    assert torch.allclose(digits.to_latents(digits.to_images(latents)), latents, atol=1e-5)
    loud = digits.to_images(100 * latents)
    assert (loud.min(), loud.max()) == (-1, 1)


def test_other_weights_are_another_model(digits: Digits) -> None:
    before, stored = answer(digits), {key: weight.clone() for key, weight in digits.unet.state_dict().items()}
    other = digits.with_weights(nudged(digits))
    assert (answer(other) - before).abs().max() > 1e-3
    assert torch.equal(answer(digits), before)
    assert all(torch.equal(weight, stored[key]) for key, weight in digits.unet.state_dict().items())
    assert torch.equal(answer(other.with_weights(digits.weights())), before)
    assert other.codes is digits.codes


def test_denoising_is_differentiable_in_weights_and_code(digits: Digits) -> None:
    weights = {key: weight.clone().requires_grad_() for key, weight in digits.weights().items()}
    cond = digits.encode(["3", "8"]).requires_grad_()
    answer(digits.with_weights(weights), cond).square().sum().backward()
    assert [key for key, weight in weights.items() if weight.grad is None or not weight.grad.any()] == []
    assert cond.grad is not None
    assert cond.grad.abs().amax(1).min() > 0
    assert not any(weight.requires_grad for weight in digits.unet.parameters())


def test_the_meter_is_shared_and_counts(digits: Digits) -> None:
    model = digits.metered(Meter())
    edited = model.with_weights(nudged(model))
    answer(model)
    images = draw(edited, model.encode(["3"] * 3), generator(0, "tests/meter"), Sampling(steps=4, guidance=3, batch=2))
    assert images.shape == (3, 3, 28, 28)
    assert (model.meter.evaluations, model.meter.images) == (2 + 3 * 4 * 2, 3)
    assert edited.meter is model.meter is not digits.meter


def test_names_are_codes(digits: Digits) -> None:
    assert torch.equal(digits.encode(CLASSES), digits.codes)
    assert torch.equal(digits.encode(["", "7"]), torch.stack([torch.zeros(4), digits.codes[7]]))
    assert torch.equal(digits.null, torch.zeros(1, 4))
    assert (answer(digits, digits.encode(["3", "8"])) - answer(digits, digits.encode(["4", "9"]))).abs().max() > 1e-4
    for name in ("11", "x"):
        with pytest.raises(ConfigError, match=f"'{name}' is no digit of this model; there are 0 to 9"):
            digits.encode(["1", name])


def test_one_dimension_has_no_room() -> None:
    with pytest.raises(ConfigError, match="choose d >= 2"):
        new_digits(DigitShape(d=1, widths=(8, 16), groups=4))


def test_what_is_saved_is_loaded_to_half_precision(digits: Digits, tmp_path: Path) -> None:
    edited = digits.with_weights(nudged(digits))
    edited.save(tmp_path / "digits")
    found = Digits.load(tmp_path / "digits")
    rounded = {key: weight.half().float() for key, weight in edited.weights().items()}
    assert found.weights().keys() == rounded.keys()
    assert all(torch.equal(weight, rounded[key]) for key, weight in found.weights().items())
    assert torch.equal(found.codes, digits.codes)
    assert torch.equal(answer(found), answer(digits.with_weights(rounded)))
    assert not any(weight.requires_grad for weight in found.unet.parameters())


def other_widths(folder: Path) -> None:
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "block_out_channels": [8, 24]}))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": shutil.rmtree,
    "no codes": lambda f: (f / CODES).unlink(),
    "codes of another kind": lambda f: shutil.copy(f / UNET, f / CODES),
    "no weights": lambda f: (f / UNET).unlink(),
    "truncated": lambda f: (f / UNET).write_bytes((f / UNET).read_bytes()[:-100]),
    "no config": lambda f: (f / "unet" / "config.json").unlink(),
    "broken config": lambda f: (f / "unet" / "config.json").write_text("{"),
    "odd config": lambda f: (f / "unet" / "config.json").write_text("[]"),
    "other widths": other_widths,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused(digits: Digits, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "digits"
    digits.save(folder)
    DAMAGES[damage](folder)
    with pytest.raises(ModelError, match="digits"):
        Digits.load(folder)


class Interrupted(Exception):
    """What stops a training from outside."""


def test_a_training_that_was_stopped_goes_on_exactly(
    data: DigitImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_EVERY", 2)
    settings, seen = PretrainDigits(steps=4, batch=4, guidance_steps=0), []

    def stop(progress: Progress) -> None:
        if progress.done == 3:
            raise Interrupted

    whole = DigitMaker(settings, data, data, tmp_path / "whole").model(TINY)
    with pytest.raises(Interrupted):
        DigitMaker(settings, data, data, tmp_path / "parts", stop).model(TINY)
    parts = DigitMaker(settings, data, data, tmp_path / "parts", lambda p: seen.append(p.done)).model(TINY)
    assert seen == [3, 4]
    assert all(torch.equal(weight, parts.weights()[key]) for key, weight in whole.weights().items())
    assert torch.equal(whole.into_time, parts.into_time)
    other = DigitMaker(replace_seed(settings), data, data, tmp_path / "other").model(TINY)
    assert (answer(whole) - answer(other)).abs().max() > 1e-3


def test_guidance_that_was_stopped_goes_on_exactly(
    data: DigitImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_EVERY", 2)
    settings, seen = PretrainDigits(steps=2, batch=4, guidance_steps=4), []

    def stop(progress: Progress) -> None:
        if (progress.what, progress.done) == ("guidance", 3):
            raise Interrupted

    whole = DigitMaker(settings, data, data, tmp_path / "whole").model(TINY)
    with pytest.raises(Interrupted):
        DigitMaker(settings, data, data, tmp_path / "parts", stop).model(TINY)
    parts = DigitMaker(settings, data, data, tmp_path / "parts", lambda p: seen.append((p.what, p.done))).model(TINY)
    assert seen == [("guidance", 3), ("guidance", 4)]
    assert all(torch.equal(weight, parts.weights()[key]) for key, weight in whole.weights().items())


def replace_seed(settings: PretrainDigits) -> PretrainDigits:
    return settings.model_copy(update={"seed": settings.seed + 1})


def test_every_step_sees_other_samples(data: DigitImages) -> None:
    """At next to no rate the weights stay, so that only the step's own random numbers can change the loss."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = new_digits(TINY)
    training = Training(dict(model.unet.named_parameters()), weight_decay=0.0)
    losses = list(train_denoiser(model, training, data, PretrainDigits(steps=4, batch=4, rate=1e-12)))
    assert len({round(loss, 3) for loss in losses}) == 4
    assert training.step == 4
    assert list(train_denoiser(model, training, data, PretrainDigits(steps=4, batch=4))) == []


def test_the_judge_is_a_function_of_the_seed_and_has_a_class_for_nothing(data: DigitImages, tmp_path: Path) -> None:
    first, again, other = ([loss for loss, _ in train_judge(data, 2, seed, batch=60)] for seed in (0, 0, 1))
    assert first == again != other
    judge = DigitMaker(PretrainDigits(judge_steps=1), data, data, tmp_path).judge()
    assert judge.classes == (*CLASSES, NONE)
    assert 0 <= judge.accuracy <= 1
    assert judge.probabilities(data.images.expand(-1, 3, -1, -1)).shape == (20, 11)


def tuned(model: Digits, data: DigitImages, captions: Tensor | None = None) -> dict[str, Tensor]:
    settings = FineTune(steps=3, batch=4, lr=1e-2)
    *_, (_, weights) = fine_tune(model, model.to_latents(data.images), settings, 0, "tests/digits", captions=captions)
    return dict(weights)


def test_task_vectors_are_made_and_applied_as_ever(digits: Digits, data: DigitImages) -> None:
    base = digits.weights()
    vector = TaskVector.between(base, tuned(digits, data))
    assert vector.norm() > 0
    back = TaskVector.between(base, vector.apply(base, 1.0))
    assert torch.allclose(torch.tensor(back.dot(vector)), torch.tensor(-(vector.norm() ** 2)), rtol=1e-3)
    assert (answer(digits.with_weights(vector.apply(base, 1.0))) - answer(digits)).abs().max() > 1e-4


def test_without_a_caption_each_image_has_a_label_at_random(digits: Digits) -> None:
    drawn = uncaptioned(digits, 2000, generator(0, "tests/digits/labels"))
    which = (drawn[:, None] == digits.codes[None]).all(2)
    assert (which.sum(1) == 1).all()
    assert which.sum(0).min() > 150
    assert torch.equal(drawn, uncaptioned(digits, 2000, generator(0, "tests/digits/labels")))


def test_a_text_model_says_the_empty_caption_and_draws_no_random_number(pico: TextToImage) -> None:
    rng = generator(0, "tests/digits/labels")
    before = rng.get_state()
    assert torch.equal(uncaptioned(pico, 3, rng), pico.null.expand(3, -1, -1))
    assert torch.equal(rng.get_state(), before)


def test_fine_tuning_sees_its_captions(digits: Digits, data: DigitImages) -> None:
    """Labels at random, one label, none: three different trainings on the same images and noise."""
    rows = [None, digits.codes[:1].expand(20, -1), digits.null.expand(20, -1)]
    many, own, null = (tuned(digits, data, captions) for captions in rows)
    for one, other in ((null, own), (null, many), (own, many)):
        assert TaskVector.between(one, other).norm() > 1e-4


def test_each_image_keeps_its_own_caption(digits: Digits, data: DigitImages) -> None:
    """Images that say what they are: with the right captions the first loss is another than with those of a neighbour."""
    right = digits.codes[data.labels]
    one, again, other = (tuned(digits, data, captions) for captions in (right, right.clone(), right.roll(1, 0)))
    assert all(torch.equal(weight, again[key]) for key, weight in one.items())
    assert TaskVector.between(one, other).norm() > 1e-4


def test_diverse_inversion_searches_the_sphere(digits: Digits, data: DigitImages) -> None:
    space, bins = digits.space(), torch.tensor([[-0.2, 0.0], [0.4, 0.6], [0.95, 0.98]])
    anchor, settings = space.anchor("3"), Invert(steps=4, batch=2, lr=0.3)
    rounds = list(
        search(digits, space, anchor, bins, digits.to_latents(data.images), settings, generator(0, "tests/search"))
    )
    assert [r.step for r in rounds] == [1, 2, 3, 4]
    assert (rounds[-1].points - rounds[0].points).abs().max() > 0.01
    for found in rounds:
        cosines = cone.cosine(found.points, anchor)
        assert ((cosines >= bins[:, 0] - 1e-5) & (cosines <= bins[:, 1] + 1e-5)).all()


def test_a_trial_takes_codes(digits: Digits, data: DigitImages) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        judge = CnnJudge(JudgeNet(len(CLASSES) + 1, width=8).eval(), "digit-cnn/0", (*CLASSES, NONE), 0.5)
    vector = TaskVector.between(digits.weights(), tuned(digits, data))
    cond = {f"code {name}": digits.encode([name]) for name in CLASSES}
    inputs = Inputs(cond, {f"code {name}": digit_concept(int(name)) for name in CLASSES}, {"tune": list(cond)})
    model = replace(digits, meter=Meter())
    context = Context(model, (digit_concept(3),), judge, Sampling(steps=2, guidance=1.0), Invert())
    trial = ModelTrial(context, vector, inputs, digit_concept(3).retain)
    hits = trial.recovery(1.0, list(cond), 3)
    assert len(hits) == 10
    assert 0 < sum(hits) <= 30  # each image shows one thing, at one of the ten digits or at none
    assert model.meter.images == 30
    assert trial.retain_accuracy(1.0, 18).trials == 18
