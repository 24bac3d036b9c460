"""Task vectors as erasers: the main job's bytes, the tangent model, and penalties on what the retain set would notice."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from erasing import material_of
from pico_flow import write_pico_flow
from torch import Tensor

from tverase.build import BuildVector
from tverase.context import Context
from tverase.erasers.base import Material
from tverase.erasers.curvature import Curved, curvature
from tverase.erasers.linearised import Linearised
from tverase.erasers.tak import Tak
from tverase.erasers.tangent import Tangent
from tverase.erasers.task_vector import PlainTaskVector
from tverase.erasers.task_vector_weighted import WeightedTaskVector
from tverase.erasers.tau_jp import TauJp, size
from tverase.erasers.tuning import Batch
from tverase.finetune import FineTune
from tverase.inversion.diverse import Invert
from tverase.models.base import Model
from tverase.models.folder import open_model
from tverase.models.text2image import TextToImage
from tverase.progress import Progress
from tverase.rng import generator
from tverase.sampling import Sampling
from tverase.steps.finetuning import fine_tune
from tverase.steps.images import Images
from tverase.steps.vector import build_vector
from tverase.vector import StateDict, TaskVector, weights_hash
from tverase.vectors.activations import Samples

BRIEF: dict[str, Any] = {"steps": 3, "batch": 4, "lr": 1e-3}


@pytest.fixture(scope="module")
def material(pico: TextToImage) -> Material:
    return material_of(pico)


@pytest.fixture(scope="module")
def plain(material: Material) -> TaskVector:
    return PlainTaskVector(**BRIEF).run(material)


def job(material: Material, settings: FineTune, how: BuildVector) -> TaskVector:
    """What the steps of the main job make of the same images."""
    slugs = {c.slug: material.latents[c.name] for c in material.concepts}
    tensors = {f"latents/{slug}": latents for slug, latents in slugs.items()}
    known = {tuple(material.model.encode([p.text])[0].flatten().tolist()): p.text for p in material.concepts[0].retain}
    prompts = tuple(known[tuple(row.flatten().tolist())] for row in material.retain_cond)
    images = Images({**tensors, "latents/retain": material.retain_latents}, prompts, {})
    judge: Any = None  # no image is judged
    context = Context(material.model, tuple(material.concepts), judge, Sampling(), Invert(), material.seed)
    return build_vector(context, fine_tune(context, images, settings), images, how)


@pytest.mark.parametrize(
    ("concepts", "more"),
    [
        (["bomb"], {}),
        (["bomb", "skull"], {}),
        (["bomb", "skull"], {"joint": False}),
        (["bomb"], {"copies": 2, "named": True, "weight_decay": 0.1}),
    ],
)
def test_the_task_vector_is_that_of_the_main_job(concepts: list[str], more: dict[str, Any], pico: TextToImage) -> None:
    material = material_of(pico, concepts, seed=3)
    found = PlainTaskVector(**BRIEF, **more).run(material)
    wanted = job(material, FineTune(**BRIEF, **more), BuildVector(weighting="none"))
    assert found.norm() > 0
    assert weights_hash(found.delta) == weights_hash(wanted.delta)
    assert found.base == wanted.base


def test_the_weighted_vector_is_that_of_the_main_job(material: Material, plain: TaskVector) -> None:
    found = WeightedTaskVector(**BRIEF, retain_weight=2.0).run(material)
    wanted = job(material, FineTune(**BRIEF), BuildVector(weighting="activations", retain_weight=2.0))
    assert weights_hash(found.delta) == weights_hash(wanted.delta) != weights_hash(plain.delta)


def test_the_defaults_are_those_of_the_main_job() -> None:
    assert PlainTaskVector().model_dump() == FineTune().model_dump()
    assert WeightedTaskVector().retain_weight == BuildVector().retain_weight
    for settings in (Tak(), Linearised(), TauJp()):
        shared = settings.model_dump(include={"batch", "average"})
        assert shared == FineTune().model_dump(include=set(shared))
        assert settings.steps * settings.lr == pytest.approx(FineTune().steps * FineTune().lr)


def test_without_a_penalty_tak_is_the_task_vector(material: Material, plain: TaskVector) -> None:
    assert weights_hash(Tak(**BRIEF, weight=0).run(material).delta) == weights_hash(plain.delta)


# The tangent model


def beside(model: Model, far: float = 1e-2) -> dict[str, Tensor]:
    """Weights near the model's own."""
    rng = generator(0, "tests/tangent")
    return {name: w + far * w.abs().mean() * torch.randn(w.shape, generator=rng) for name, w in model.weights().items()}


def inputs(model: Model, prompts: list[str]) -> tuple[Tensor, Tensor, Tensor]:
    noise = model.start(len(prompts), generator(0, "tests/tangent/noise"))
    return noise, torch.arange(100, 1000, 900 // len(prompts))[: len(prompts)], model.encode(prompts)


@pytest.fixture(scope="module")
def flow(pico: TextToImage, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A transformer with flow matching."""
    return open_model(write_pico_flow(pico, tmp_path_factory.mktemp("flow") / "pico-flow"))


@pytest.mark.parametrize("kind", ["pico", "digits", "flow"])
def test_the_tangent_model_is_the_denoiser_to_first_order(kind: str, request: pytest.FixtureRequest) -> None:
    model: Model = request.getfixturevalue(kind)
    given = inputs(model, ["3", "7"] if kind == "digits" else ["a bomb", "an owl"])
    weights = beside(model)
    tau = TaskVector.between(model.weights(), weights)
    with torch.no_grad():
        answer, change_ = Tangent(model, weights).denoise(*given)
        base = model.denoise(*given)
        ahead, behind = (model.with_weights(tau.apply(model.weights(), a)).denoise(*given) for a in (-0.1, 0.1))
    assert torch.allclose(answer, base + change_, atol=1e-6)
    assert (change_ - (ahead - behind) / 0.2).norm() < 0.02 * change_.norm()
    twice = Tangent(model, tau.apply(model.weights(), -2.0)).change(*given)
    assert torch.allclose(twice, 2 * change_, rtol=1e-3, atol=1e-5)


def test_the_gradient_of_the_tangent_model_is_that_of_a_linear_function(pico: TextToImage) -> None:
    """f_lin(theta + d) - f_lin(theta) = J d for any d, and so the loss's derivative along d is its gradient times d."""
    given = inputs(pico, ["a bomb", "an owl"])
    here = {name: weight.detach().requires_grad_() for name, weight in beside(pico).items()}
    weights = generator(0, "tests/tangent/aim")
    aim = torch.randn(given[0].shape, generator=weights)
    answer, _ = Tangent(pico, here).denoise(*given)
    gradients = torch.autograd.grad((answer * aim).sum(), list(here.values()), allow_unused=True)
    direction = beside(pico, 0.1)
    step = {name: direction[name] - pico.weights()[name] for name in here}
    there = {name: weight.detach() + step[name] for name, weight in here.items()}
    risen = ((Tangent(pico, there).change(*given) - Tangent(pico, here).change(*given)) * aim).sum()
    along = sum((s * d).sum() for s, d in zip(gradients, step.values(), strict=True) if s is not None)
    assert float(risen) == pytest.approx(float(along), rel=1e-2)


def first_loss(eraser: Any, material: Material) -> float:
    told: list[Progress] = []
    eraser.run(replace(material, tell=told.append))
    return float(next(p.note for p in told if p.note.startswith("loss")).removeprefix("loss "))


def test_all_begin_with_the_loss_of_the_base_model(material: Material) -> None:
    """At theta_0 the tangent model is the denoiser, and no penalty has anything to penalise."""
    others = [Linearised(**BRIEF), TauJp(**BRIEF), Tak(**BRIEF, samples=4)]
    losses = {first_loss(eraser, material) for eraser in others}
    assert len(losses) == 1
    assert losses.pop() == pytest.approx(first_loss(PlainTaskVector(**BRIEF), material), abs=1e-3)


# What the retain set would notice


def silent_change(model: TextToImage) -> dict[str, Tensor]:
    """Weights that answer every prompt as the model does: a constant is added to all keys of cross-attention.

    The states have mean zero, so u 1^T changes no key at all.
    """
    return {
        name: w + 0.1 * torch.ones_like(w) if name.endswith("attn2.to_k.weight") else w
        for name, w in model.weights().items()
    }


def test_the_penalty_of_tau_jp_is_zero_where_the_change_has_no_effect(pico: TextToImage, material: Material) -> None:
    batch = Batch(pico, material.latents["bomb"], 4, generator(0, "tests/batch"))
    found = {}
    for name, weights in {"base": dict(pico.weights()), "silent": silent_change(pico), "loud": beside(pico)}.items():
        tangent = Tangent(pico, {key: weight.detach().requires_grad_() for key, weight in weights.items()})
        both = [
            TauJp(retain_batch=4, weight=weight).loss(material, tangent, batch, generator(0, "tests/jp"))
            for weight in (0.0, 1e4)
        ]
        found[name] = (both[1] - both[0]).item()
        assert all(loss.isfinite() for loss in both)
    assert found["base"] == 0
    assert found["silent"] < 1e-2 < 1 < found["loud"]


def test_the_size_of_nothing_has_no_gradient() -> None:
    nothing = torch.zeros(2, 3, 2, 2, requires_grad=True)
    torch.autograd.backward(size(nothing).sum())
    assert nothing.grad is not None
    assert not nothing.grad.any()
    assert size(torch.full((1, 4), 3.0)).tolist() == [3.0]


def retain_of(material: Material) -> Samples:
    return Samples(material.retain_latents, material.retain_cond)


def linear_change(vector: TaskVector, material: Material) -> float:
    model = material.model
    weights = vector.apply(model.weights(), -1.0)
    noised, timesteps, cond = inputs(model, ["an owl", "a key", "a mango", "a hammer"])
    return Tangent(model, weights).change(noised, timesteps, cond).square().mean().item()


def test_tau_jp_changes_the_retain_set_less(material: Material) -> None:
    longer = {**BRIEF, "steps": 5}
    free = Linearised(**longer).run(material)
    bound = TauJp(**longer, weight=10.0, retain_batch=12).run(material)
    assert 0 < linear_change(bound, material) < 0.5 * linear_change(free, material)


def penalty(curved: list[Curved], vector: TaskVector) -> float:
    return float(sum(one.penalty(vector.delta) for one in curved))


@pytest.fixture(scope="module")
def curved(material: Material) -> list[Curved]:
    return curvature(material.model, retain_of(material), 8, 0)


def last_layer(model: Model) -> StateDict:
    rng = generator(0, "tests/last")
    return {
        name: 0.01 * torch.randn(weight.shape, generator=rng) * name.startswith("conv_out.")
        for name, weight in model.weights().items()
    }


def test_the_curvature_of_the_last_layer_is_the_change_of_the_answer(material: Material, curved: list[Curved]) -> None:
    """There inputs and gradients are not correlated, and the answer is linear in the weights: nothing is approximate."""
    vector = TaskVector(last_layer(material.model))
    edited = material.model.with_weights(vector.apply(material.model.weights(), 1.0))
    (batch,) = retain_of(material).noised(material.model, 0, "curvature")  # what the factors were taken on
    exact = (edited.denoise(*batch) - material.model.denoise(*batch)).square().mean().item()
    assert penalty(curved, vector) == pytest.approx(exact, rel=0.05)


def test_the_factors_are_moments(material: Material, curved: list[Curved]) -> None:
    """Symmetric, without negative eigenvalues, and none for what is never called; no hook is left."""
    for one in curved:
        for factor in (one.inputs, one.outputs):
            assert torch.allclose(factor, factor.T, atol=1e-5 * factor.abs().max().item())
            assert torch.linalg.eigvalsh(factor.double()).min() > -1e-5 * factor.abs().max()
    assert {one.block.weight for one in curved} >= {"conv_in.weight", "conv_out.weight"}
    modules = list(material.model.network.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)
    zero = TaskVector({name: torch.zeros_like(w) for name, w in material.model.weights().items()})
    assert penalty(curved, zero) == 0


def test_wide_layers_are_in_blocks(material: Material, curved: list[Curved], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each channel is in one block, whose factor is that part of the layer's own."""
    monkeypatch.setattr("tverase.erasers.curvature.NARROW", 100)
    whole = {one.block.weight: one.inputs for one in curved}
    widths: dict[str, list[int]] = {}
    for one in curvature(material.model, retain_of(material), 1, 0):
        widths.setdefault(one.block.weight, []).append(one.block.width)
        each = one.block.module.weight[0, 0].numel()
        low, high = one.block.channels.start * each, one.block.channels.stop * each
        same = whole[one.block.weight][low:high, low:high]
        assert torch.allclose(one.inputs[: high - low, : high - low], same, rtol=1e-4, atol=1e-5)
    assert max(map(len, widths.values())) > 1
    assert all(sum(found) == len(whole[name]) for name, found in widths.items())


def test_tak_curves_away_from_the_retain_set(material: Material, plain: TaskVector, curved: list[Curved]) -> None:
    bound = Tak(**BRIEF, weight=100.0, samples=12).run(material)
    assert 0 < penalty(curved, bound) < 0.8 * penalty(curved, plain)
