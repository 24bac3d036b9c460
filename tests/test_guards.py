"""Guards at inference: strength 0 is no guard, 1 the published rule; attacks learn through them."""

from typing import Any

import pytest
import torch
from erasing import material_of, of_digits
from guarded import drawn, noise, paired
from torch import Tensor

from tverase.attacks.concept_inversion import ConceptInversion, concept_inversion
from tverase.erasers.adavd import Adavd
from tverase.erasers.base import Guard, Material, erased
from tverase.erasers.guarding import Guarded, with_each
from tverase.erasers.negative_prompt import NegativePrompt
from tverase.erasers.safree import Safree
from tverase.erasers.sld import Sld
from tverase.models.base import Meter, Model, repeated
from tverase.models.digits import Digits
from tverase.models.text2image import TextToImage
from tverase.rng import generator
from tverase.sampling import Sampling
from tverase.vector import TaskVector

KINDS: list[Any] = [NegativePrompt(), Sld(), Safree(), Adavd(centre=-1.0)]
ids = [type(kind).__name__ for kind in KINDS]


@pytest.fixture(scope="module")
def material(pico: TextToImage) -> Material:
    return material_of(pico)


@pytest.fixture(scope="module")
def prompts(pico: TextToImage) -> Tensor:
    return pico.encode(["a bomb", "a cat"])


def inner(model: Model) -> Guarded:
    assert isinstance(model, Guarded)
    return model


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_strength_zero_is_the_model_and_one_is_another(kind: Any, material: Material, prompts: Tensor) -> None:
    guard: Guard = kind.run(material)
    assert guard.guarded(material.model, 0.0) is material.model
    plain = drawn(material.model, prompts)
    changes = [float((drawn(guard.guarded(material.model, s), prompts) - plain).norm()) for s in (1e-4, 1.0)]
    assert 0 <= changes[0] < changes[1] or isinstance(kind, Safree)
    assert drawn(erased(material.model, guard), prompts).isfinite().all()


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_a_guarded_model_is_the_model_in_all_else(kind: Any, material: Material) -> None:
    model, guarded = material.model, inner(kind.run(material).guarded(material.model))
    assert guarded.weights() is model.weights()
    assert torch.equal(guarded.encode(["a cat"]), model.encode(["a cat"]))
    assert torch.equal(guarded.null, model.null)
    assert guarded.tokenizer is model.tokenizer  # type: ignore[attr-defined]
    assert not hasattr(guarded, "nothing_of_this_name")
    meter = Meter()
    guarded.metered(meter).denoise(noise(model), torch.tensor([500, 500]), model.encode(["a cat", "a dog"]))
    assert meter.evaluations >= 2
    vector = TaskVector({key: torch.ones_like(weight) for key, weight in model.weights().items()})
    edited = guarded.with_weights(vector.apply(guarded.weights(), 0.01))
    assert isinstance(edited, Guarded)
    assert not torch.equal(next(iter(edited.weights().values())), next(iter(model.weights().values())))


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_the_empty_caption_alone_is_never_guarded(kind: Any, material: Material) -> None:
    """Guidance 0 draws with nothing but the empty caption; a guard that changed it would draw the concept by its absence."""
    guarded, model = kind.run(material).guarded(material.model), material.model
    none = Sampling(steps=2, guidance=0.0)
    cond = model.encode(["a bomb", "a cat"])
    assert torch.equal(drawn(guarded, cond, none), drawn(model, cond, none))


@pytest.mark.parametrize(
    "kind", [Sld(warmup=0.0, scale=1.0, threshold=100.0), Adavd(slope=3.0, centre=-1.0)], ids=["Sld", "Adavd"]
)
def test_attacks_learn_through_a_guard(kind: Any, material: Material, prompts: Tensor) -> None:
    """The gradient in the conditioning is that of the guarded answer, along a random direction (Athalye et al., 2018)."""
    guarded, model = kind.run(material).guarded(material.model), material.model
    noised, times = noise(model, seed=3), torch.tensor([300, 900])
    given = prompts.clone().requires_grad_()
    aside = torch.randn(prompts.shape, generator=generator(1, "tests/guards/aside"))
    aim = torch.randn(noised.shape, generator=generator(2, "tests/guards/aim"))
    (gradient,) = torch.autograd.grad((guarded.denoise(noised, times, given) * aim).sum(), [given])

    def value(cond: Tensor) -> float:
        return float((guarded.denoise(noised, times, cond) * aim).double().sum())

    step = 1e-3
    numeric = (value(prompts + step * aside) - value(prompts - step * aside)) / (2 * step)
    assert float(gradient.abs().max()) > 0
    assert float((gradient * aside).sum()) == pytest.approx(numeric, rel=0.1, abs=0.02)


def test_published_sld_has_gradients(material: Material, prompts: Tensor) -> None:
    guarded, given = Sld(warmup=0.0).run(material).guarded(material.model), prompts.clone().requires_grad_()
    guarded.denoise(noise(guarded), torch.tensor([300, 900]), given).square().sum().backward()
    assert given.grad is not None
    assert float(given.grad.flatten(1).norm(dim=1).amin()) > 0


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_concept_inversion_attacks_a_guarded_model(kind: Any, material: Material) -> None:
    model = kind.run(material).guarded(material.model)
    space = model.space("a {}")
    settings = ConceptInversion(words=2, steps=2, batch=1)
    rounds = list(concept_inversion(model, space, "bomb", material.latents["bomb"], settings, generator(0, "t")))
    assert rounds[-1].points.isfinite().all()
    assert not torch.equal(rounds[-1].points, rounds[0].points)


def test_calls_of_guidance_are_recognised(material: Material, prompts: Tensor) -> None:
    guarded = inner(NegativePrompt().run(material).guarded(material.model))
    both, times, cond = paired(guarded, prompts, 500)
    assert guarded.halves(both, times, cond)
    assert guarded.halves(both, times, torch.cat([cond[:2], cond[:2]]))  # an empty prompt is a prompt
    assert not guarded.halves(torch.cat([both[:2], both[:2] + 1]), times, cond)
    assert not guarded.halves(both, torch.tensor([500, 500, 400, 400]), cond)
    assert not guarded.halves(both, times, cond.flip(0))
    assert not guarded.halves(both[:3], times[:3], cond[:3])
    assert guarded.empty(cond).tolist() == [True, True, False, False]


def test_negative_prompt_guides_from_the_name(material: Material, prompts: Tensor) -> None:
    """Within `trajectory` the first step is that of guidance with the name in place of the empty caption."""
    model = material.model
    guarded = NegativePrompt().run(material).guarded(model)
    call = paired(model, prompts, 700)
    first, second = guarded.denoise(*call).chunk(2)
    name = model.denoise(call[0][:2], call[1][:2], repeated(model.encode(["a bomb"]), 2))
    own = model.denoise(*call).chunk(2)
    assert torch.allclose(first, name, atol=1e-5)
    assert torch.equal(second, own[1])
    half = NegativePrompt().run(material).guarded(model, 0.5).denoise(*call).chunk(2)[0]
    assert torch.allclose(half, (name + own[0]) / 2, atol=1e-5)
    alone = guarded.denoise(call[0][:2], call[1][:2], prompts)
    assert torch.equal(alone, model.denoise(call[0][:2], call[1][:2], prompts))


def test_several_negative_prompts_are_averaged(pico: TextToImage, prompts: Tensor) -> None:
    guarded = NegativePrompt().run(material_of(pico, ["bomb", "skull"])).guarded(pico)
    call = paired(pico, prompts, 700)
    names = [pico.denoise(call[0][:2], call[1][:2], repeated(pico.encode([n]), 2)) for n in ("a bomb", "a skull")]
    assert torch.allclose(guarded.denoise(*call)[:2], torch.stack(names).mean(0), atol=1e-5)


@pytest.mark.parametrize("kind", [Sld(warmup=0.0), NegativePrompt()], ids=["sld", "negative-prompt"])
def test_guards_of_guidance_need_no_words(kind: Any, digits: Digits) -> None:
    """They work on the toy on a sphere as well."""
    material = of_digits(digits)
    guarded = kind.run(material).guarded(digits)
    cond = digits.encode(["3", "5"])
    assert not torch.equal(drawn(guarded, cond), drawn(digits, cond))


def test_every_evaluation_is_counted(material: Material, prompts: Tensor) -> None:
    """Plain guidance takes 4 for two rows; a negative prompt and SLD ask for the name as well."""
    model, spent = material.model, []
    for kind in (NegativePrompt(), Sld(), Safree(), Adavd()):
        meter = Meter()
        kind.run(material).guarded(model).metered(meter).denoise(*paired(model, prompts, 500))
        spent.append(meter.evaluations)
    assert spent == [6, 6, 4, 4]


def test_answers_under_several_conditionings_come_in_one_call(pico: TextToImage, prompts: Tensor) -> None:
    noised, times = noise(pico, 3), torch.tensor([100, 500, 900])
    found = with_each(pico, noised, times, [prompts[:1], prompts[1:]])
    for answer, cond in zip(found, prompts, strict=True):
        assert torch.allclose(answer, pico.denoise(noised, times, repeated(cond[None], 3)), atol=1e-5)
