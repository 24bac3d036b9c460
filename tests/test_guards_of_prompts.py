"""Guards of the input: AdaVD takes the concept out of values, SAFREE out of tokens, and both leave the rest alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from erasing import material_of, of_digits
from torch import Tensor
from torch.nn import functional

from tverase.erasers.adavd import Adavd, Projected, ValueGuard
from tverase.erasers.base import Material
from tverase.erasers.cross_attention import maps_of
from tverase.erasers.safree import Filtered, Safree, span, without
from tverase.errors import ModelError
from tverase.models.base import Model
from tverase.models.digits import Digits
from tverase.models.text2image import TextToImage
from tverase.rng import generator


@pytest.fixture(scope="module")
def material(pico: TextToImage) -> Material:
    return material_of(pico)


@pytest.fixture(scope="module")
def prompts(pico: TextToImage) -> Tensor:
    return pico.encode(["a bomb", "a cat"])


def noise(model: Model, count: int = 2, seed: int = 0) -> Tensor:
    return model.start(count, generator(seed, "tests/guards"))


def test_adavd_leaves_orthogonal_values_as_they_are(material: Material) -> None:
    concept = functional.normalize(torch.randn(1, 8, generator=generator(0, "t")), dim=1) * 3
    values = torch.randn(2, 5, 8, generator=generator(1, "t"))
    aside = values - values @ concept.T @ concept / concept.square().sum()
    everything = Projected(concept, Adavd(slope=0.0, height=2.0), 1.0)  # delta is 1 everywhere
    assert float(everything.part(aside, concept).abs().max()) < 1e-5
    left = values - everything.part(values, concept)
    assert float((left @ concept.T).abs().max()) < 1e-5  # the orthogonal complement
    assert torch.allclose(left, aside, atol=1e-5)
    published = Projected(concept, Adavd(centre=0.93), 1.0)
    assert float(published.part(values, concept).abs().max()) < 1e-6  # far from the concept nothing is taken
    near = concept[None] + 0.01 * values
    assert torch.allclose(near - published.part(near, concept), -near, atol=0.3)  # height 2: beyond the complement


def test_adavd_takes_several_concepts_out_of_their_span() -> None:
    concepts = torch.randn(3, 8, generator=generator(0, "t"))
    values = torch.randn(2, 5, 8, generator=generator(1, "t"))
    left = values - Projected(concepts, Adavd(slope=0.0, height=2.0), 1.0).part(values, concepts)
    assert float((left @ concepts.T).abs().max()) < 1e-4


def test_adavd_changes_values_only_and_leaves_no_hook(material: Material, prompts: Tensor) -> None:
    """With weights whose values of the prompt are orthogonal to the concept's, the answer is the plain one."""
    model, guard = material.model, Adavd(slope=0.0).run(material)
    assert isinstance(guard, ValueGuard)
    null, name = model.null[0], model.encode(["a bomb"])[0]
    assert torch.equal(guard.concepts[0], name[(name - null).norm(dim=1).argmax()])
    state = guard.concepts[0]
    blind = dict(model.weights())
    for key in maps_of(model, ("to_v",)):
        blind[key] = blind[key] - (blind[key] @ state)[:, None] * state / state.square().sum()
    noised, times = noise(model), torch.tensor([500, 500])
    plain = model.with_weights(blind)
    assert torch.allclose(
        guard.guarded(plain).denoise(noised, times, prompts), plain.denoise(noised, times, prompts), atol=1e-5
    )
    assert not torch.allclose(
        guard.guarded(model).denoise(noised, times, prompts), model.denoise(noised, times, prompts), atol=1e-5
    )
    assert not any(module._forward_hooks for module in model.network.modules())


def planted(concept: Tensor) -> tuple[Filtered, Callable[[list[list[float]]], Tensor]]:
    """A filter whose concept is given, and prompts as what their tokens add, padded to five tokens."""
    return Filtered(concept, Safree(upper=0.2), 1.0), lambda rows: torch.tensor(
        [rows + [[0.0] * concept.shape[1]] * (5 - len(rows))]
    )


def test_safree_drops_the_token_of_the_concept_and_no_other() -> None:
    axes = torch.eye(4)
    filtered, prompt = planted(axes[:1])
    mixed = prompt([[0, 1, 0, 0], [3, 0.2, 0, 0], [0, 0, 1, 0]])
    assert filtered.triggers(mixed)[0].tolist() == [False, True, False, False, False]
    safe = filtered.projected(mixed)
    assert torch.allclose(safe[0, 1], torch.tensor([0, 0.2, 0, 0]), atol=1e-5)
    assert torch.equal(safe[0, [0, 2, 3, 4]], mixed[0, [0, 2, 3, 4]])


def test_safree_keeps_a_prompt_without_the_concept_as_it_is() -> None:
    filtered, prompt = planted(torch.eye(4)[:1])
    other = prompt([[0, 1, 0, 0], [0, 2, 1, 0], [0, 0, 1, 3]])
    safe = filtered.projected(other)
    assert torch.allclose(safe, other, atol=1e-5)
    assert float(filtered.share(other, safe)) < 1e-9
    mixed = prompt([[0, 1, 0, 0], [9, 0.2, 0, 0], [0, 0, 1, 0]])
    assert float(filtered.share(mixed, filtered.projected(mixed))) > 0.19  # upper: 10 of 50 steps


def test_safree_acts_on_the_first_steps_only(material: Material, prompts: Tensor) -> None:
    guard, model = Safree(centre=-100.0, upper=0.3).run(material), material.model
    guarded, noised = guard.guarded(model), noise(model)
    for time, same in ((699, True), (701, False)):
        times = torch.full((2,), time)
        found = torch.allclose(
            guarded.denoise(noised, times, prompts), model.denoise(noised, times, prompts), atol=1e-6
        )
        assert found == same


def test_attacks_learn_through_safree(material: Material, prompts: Tensor) -> None:
    """The gradient is that of the denoiser at the filtered prompts, through the projection of the triggers."""
    guard, model = Safree(centre=-100.0, upper=1.0).run(material), material.model
    rule = Filtered(guard.concept, guard.settings, 1.0)
    noised, times = noise(model), torch.tensor([300, 900])
    added = prompts - model.null
    triggers, inside = rule.triggers(added), span(added)
    assert triggers.any(1).tolist() == [True, True]
    heard = (model.null + rule.projected(added)).requires_grad_()
    given = prompts.clone().requires_grad_()
    for one, cond in ((guard.guarded(model), given), (model, heard)):
        one.denoise(noised, times, cond).square().sum().backward()
    assert heard.grad is not None
    assert given.grad is not None
    back = heard.grad @ inside.transpose(1, 2) @ inside
    wanted = torch.where(triggers[..., None], without(back, rule.concept), heard.grad)
    assert torch.allclose(given.grad, wanted, rtol=1e-2, atol=1e-5)
    assert float(given.grad.abs().max()) > 0


def test_spans_are_projections() -> None:
    vectors = torch.randn(2, 3, 6, generator=generator(0, "t"))
    vectors[1, 2] = vectors[1, 0]
    found = span(vectors)
    assert found.norm(dim=2).round().sum(1).tolist() == [3, 2]
    for rows, directions in zip(vectors, found, strict=True):
        assert torch.allclose(without(rows, directions), torch.zeros(3, 6), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "said"), [(Safree(), "shape .4,.; expected states"), (Adavd(), "has no cross-attention with attn2.to_v")]
)
def test_models_without_states_are_refused(kind: Any, said: str, digits: Digits) -> None:
    with pytest.raises(ModelError, match=said):
        kind.run(of_digits(digits))
