"""Erasers in closed form: each has the property that its paper states, on a model with random weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from erasing import material_of, of_digits
from pico_flow import write_pico_flow
from torch import Tensor

from tverase.erasers.base import Material
from tverase.erasers.cross_attention import States, changed, maps_of, moment, named, own
from tverase.erasers.double_projections import DoubleProjections, beyond
from tverase.erasers.rece import Rece, adversarial
from tverase.erasers.speed import Constrained, Speed, centres, null_space, retained
from tverase.erasers.uce import Uce
from tverase.errors import ConfigError, ModelError, NumericalError
from tverase.models.digits import Digits
from tverase.models.folder import open_model
from tverase.models.text2image import TextToImage
from tverase.rng import generator
from tverase.vector import TaskVector

CLOSED: list[Any] = [Uce(), Rece(rounds=1), Speed(), DoubleProjections(rank=0.2), Speed(keys=True)]
D = 16  # numbers in a state of the pico model


@pytest.fixture(scope="module")
def material(pico: TextToImage) -> Material:
    return material_of(pico)


@pytest.fixture(scope="module")
def states(material: Material) -> States:
    return States.of(material, "tuning")


def change_of(material: Material, eraser: Any) -> dict[str, Tensor]:
    """What the eraser adds to each weight at strength 1."""
    vector = eraser.run(material)
    return {name: -delta.double() for name, delta in vector.delta.items() if delta.any()}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed, "tests/closed"), dtype=torch.float64)


def named_apart(*, forget: Tensor, target: Tensor, retain: Tensor) -> States:
    return States(forget, target, retain, target[:1])


@pytest.mark.parametrize("eraser", CLOSED, ids=lambda eraser: f"{type(eraser).__name__} {eraser!r}")
def test_only_keys_and_values_of_cross_attention_move(material: Material, eraser: Any) -> None:
    moved = change_of(material, eraser).keys()
    values = {name for name in material.model.weights() if name.endswith("attn2.to_v.weight")}
    keys = {name for name in material.model.weights() if name.endswith("attn2.to_k.weight")}
    assert values
    assert moved == (values if isinstance(eraser, Speed) and not eraser.keys else values | keys)


@pytest.mark.parametrize("eraser", CLOSED[:4], ids=lambda eraser: type(eraser).__name__)
def test_the_concept_moves_towards_the_empty_caption_and_more_than_the_retain_set(
    material: Material, states: States, eraser: Any
) -> None:
    change, weights = change_of(material, eraser), maps_of(material.model)
    before = after = moved = 0.0
    for name, delta in change.items():
        gap = (states.forget - states.target) @ weights[name].T
        before += float(gap.square().sum(1).mean())
        after += float((gap + states.forget @ delta.T).square().sum(1).mean())
        moved += float((states.retain.flatten(0, 1) @ delta.T).square().sum(1).mean())
    assert after < 0.9 * before
    assert moved < before - after


def test_states_belong_to_the_concept_alone(material: Material, states: States) -> None:
    model = material.model
    cond = named(material, material.concepts[0], "name").double()
    mine = own(cond, torch.cat([model.null, material.retain_cond]).double())[0]
    assert not mine[0]  # every prompt begins with the same token
    assert mine[-1]  # a causal encoder says the concept until the end
    assert len(states.forget) == len(states.target) > int(mine.sum())
    known = torch.cat([states.null, states.retain.flatten(0, 1)])
    assert float(torch.cdist(states.forget, known).amin()) > 0
    only = States.of(material, "name")
    assert torch.equal(only.forget, cond[0][mine])
    assert torch.equal(only.target, model.null[0].double()[mine])


def test_uce_is_the_optimum_of_its_objective(states: States) -> None:
    eraser = Uce(preserve=0.3, ridge=0.2, erase=2.0)
    weight = random(7, D)
    solved = (weight @ (torch.eye(D) + eraser.step(states))).requires_grad_()
    erase = (states.forget @ solved.T - states.target @ weight.T).square().sum()
    kept = torch.cat([states.retain.flatten(0, 1), states.null])
    keep = (kept @ (solved - weight).T).square().sum()
    loss = 2.0 * erase + 0.3 * keep + 0.2 * (solved - weight).square().sum()
    (gradient,) = torch.autograd.grad(loss, [solved])
    scale = torch.autograd.grad((states.forget @ solved.T).square().sum(), [solved])[0].abs().max()
    assert float(gradient.abs().max()) < 1e-9 * float(scale)


def test_uce_with_little_ridge_answers_exactly_as_the_target() -> None:
    """Fewer states than dimensions: the erased embedding's output is the target's, the retained ones stay."""
    points = random(9, D)
    states = named_apart(forget=points[:3], target=points[3:6], retain=points[6:][None])
    step = Uce(ridge=1e-9, preserve=1.0).step(states)
    weight = random(5, D, seed=1)
    assert torch.allclose((states.forget + states.forget @ step.T) @ weight.T, states.target @ weight.T, atol=1e-5)
    assert float((states.retain @ step.T).abs().max()) < 1e-5


def test_uce_of_what_is_at_its_target_changes_nothing(states: States) -> None:
    assert not Uce().step(replace(states, target=states.forget)).any()


def test_the_adversarial_embedding_is_the_optimum_of_reces_objective() -> None:
    weights, factor, forget = random(30, D), torch.eye(D) + 0.3 * random(D, D, seed=1), random(4, D, seed=2)
    found = adversarial(forget, factor, moment(weights), 0.1).requires_grad_()
    loss = ((found @ factor.T - forget) @ weights.T).square().sum() + 0.1 * found.square().sum()
    (gradient,) = torch.autograd.grad(loss, [found])
    assert float(gradient.abs().max()) < 1e-9
    exact = adversarial(forget, factor, moment(weights), 1e-12)
    assert torch.allclose(exact @ factor.T, forget, atol=1e-6)  # brings the concept back through the edited matrices


def test_reces_round_weakens_the_adversarial_embeddings_of_uce(material: Material, states: States) -> None:
    """What brought the concept back after UCE is nearer to the target's output after a round."""
    weights = torch.cat(list(maps_of(material.model).values()))
    identity, eraser = torch.eye(D, dtype=torch.float64), Rece(rounds=1)
    after_uce = identity + eraser.step(states)
    found = adversarial(states.forget, after_uce, moment(weights), eraser.adversary)

    def left(factor: Tensor) -> float:
        return float((((found @ factor.T) - states.target) @ weights.T).square().sum())

    change = change_of(material, eraser)
    delta = torch.cat([change[name] for name in maps_of(material.model)])
    after_rounds = identity + torch.linalg.lstsq(weights, delta).solution
    assert left(after_rounds) < 0.3 * left(after_uce)


def test_speed_leaves_the_null_space_and_the_empty_caption_alone(material: Material, states: States) -> None:
    """Retained outputs are unchanged to 1e-5: exactly where the retain set's moment has no direction below the threshold."""
    few = states.retain[:1, 1:5].flatten(0, 1)  # four directions, so that a null space is left
    free = null_space(moment(few) / len(few), 1e-6)
    assert torch.allclose(free @ free, free, atol=1e-9)
    assert int(free.trace().round()) == D - 4
    exact = torch.cat([states.null[:1], centres(states.null[1:], 3)]).T
    change = Constrained(free, exact).solve(moment(states.forget), 1.0)
    assert torch.allclose(change, change.T, atol=1e-9)
    weight, pull = random(7, D), (states.target - states.forget).T @ states.forget
    delta = weight @ pull @ change
    assert float(delta.abs().max()) > 1e-3
    assert float((few @ delta.T).abs().max()) < 1e-5
    assert float((exact.T @ delta.T).abs().max()) < 1e-5


def test_speed_is_the_optimum_under_its_constraints(states: States) -> None:
    """The gradient of the objective is zero in every direction that keeps the retain set and the empty caption."""
    few = states.retain[:1, 1:4].flatten(0, 1)
    free, exact = null_space(moment(few) / len(few), 1e-6), states.null[:2].T
    weight, pull = random(7, D), (states.target - states.forget).T @ states.forget
    delta = (weight @ pull @ Constrained(free, exact).solve(moment(states.forget), 0.5)).requires_grad_()
    wanted = (states.target - states.forget) @ weight.T
    loss = (states.forget @ delta.T - wanted).square().sum() + 0.5 * delta.square().sum()
    (gradient,) = torch.autograd.grad(loss, [delta])
    basis = torch.linalg.qr(free @ exact).Q
    allowed = free - basis @ basis.T
    assert float((gradient @ allowed).abs().max()) < 1e-7 * float(gradient.abs().max().clamp(min=1))


def test_speeds_filter_keeps_what_the_change_would_move_most(states: States) -> None:
    weight, forget = random(7, D), moment(states.forget)
    pull = (states.target - states.forget).T @ states.forget
    retain = states.retain.flatten(0, 1)
    rng = generator(0, "tests/speed")
    plain = retained(weight, forget, pull, retain, Speed(copies=0), rng)
    assert torch.allclose(plain, moment(retain) / len(retain))
    kept = retained(weight, forget, pull, retain, Speed(copies=1), rng)
    assert not torch.allclose(kept, plain)
    free = weight @ pull @ torch.linalg.inv(forget + torch.eye(D))
    assert float((free @ kept @ free.T).trace()) > float((free @ plain @ free.T).trace())


def test_centres_are_means_of_what_is_near() -> None:
    points = torch.cat([random(5, 2) * 0.01 + shift for shift in (0.0, 10.0, -10.0)])
    found = centres(points, 3)
    assert torch.allclose(found.sort(0).values, torch.tensor([[-10.0], [0.0], [10.0]]).double().expand(3, 2), atol=0.1)
    assert torch.equal(centres(points[:2], 3), points[:2])


def test_double_projections_reach_the_projection_and_keep_the_retain_set() -> None:
    """With independent states the output is exactly W c*, and the retained states' stay; the rank is the concept's."""
    points = random(8, D)
    forget, retain, safe = points[:3], points[3:6], points[6:]
    free, unsafe = beyond(retain, 1e-6), beyond(safe, 1e-6)
    step = DoubleProjections(noise=1e-9).step(forget, unsafe, free)
    onto = safe.T @ torch.linalg.pinv(safe.T)
    assert torch.allclose(forget + forget @ step.T, forget @ onto.T, atol=1e-8)
    assert float((retain @ step.T).abs().max()) < 1e-8
    assert int(torch.linalg.matrix_rank(step)) == 3


def test_double_projections_move_a_retain_state_by_its_bound(states: States) -> None:
    rank = 0.2
    kept = torch.cat([states.retain.flatten(0, 1), states.null])
    free, unsafe = beyond(kept, rank), beyond(states.null, rank)
    step = DoubleProjections().step(states.forget, unsafe, free)
    bound = torch.linalg.matrix_norm(step, 2) * rank * torch.linalg.svdvals(kept)[0]
    assert float((kept @ step.T).norm(dim=1).max()) <= float(bound)


def test_a_retain_set_in_every_direction_leaves_nothing_to_change(states: States) -> None:
    with pytest.raises(ConfigError, match=r"no direction free at rank = 1e-09; raise rank"):
        beyond(states.retain.flatten(0, 1), 1e-9)


def test_speed_without_a_null_space_says_so(material: Material) -> None:
    with pytest.raises(
        ConfigError, match=r"no direction of the retain states is below threshold = 1e-20; raise threshold"
    ):
        Speed(threshold=1e-20, copies=0).run(material)


def test_a_name_of_the_retain_set_cannot_be_erased(material: Material) -> None:
    both = replace(material, retain_cond=torch.cat([material.retain_cond, material.model.encode(["a bomb"])]))
    with pytest.raises(ConfigError, match="no state of 'a bomb' differs from all retain prompts"):
        Uce(prompts="name").run(both)


@pytest.mark.parametrize("eraser", [Uce(), Rece(), Speed(), DoubleProjections()], ids=lambda e: type(e).__name__)
def test_models_without_cross_attention_are_refused(eraser: Any, digits: Digits) -> None:
    with pytest.raises(ModelError, match=r"Digits has no cross-attention with .*attn2.to_v; expected a UNet"):
        eraser.run(of_digits(digits))


def test_a_change_that_is_not_finite_is_an_error(material: Material) -> None:
    name = next(iter(maps_of(material.model)))
    with pytest.raises(NumericalError, match="is not finite; raise"):
        changed(material, {name: torch.full_like(material.model.weights()[name], torch.nan).double()})


def test_a_transformer_without_keys_of_its_own_is_refused(pico: TextToImage, tmp_path: Path) -> None:
    model = open_model(write_pico_flow(pico, tmp_path / "flow"))
    with pytest.raises(ModelError, match="MMDiT has no cross-attention"):
        Uce().run(material_of(model))


def test_vectors_lead_back_to_the_base(material: Material) -> None:
    vector = Uce().run(material)
    assert isinstance(vector, TaskVector)
    weights, base = vector.apply(material.model.weights(), 1.0), maps_of(material.model)
    step = Uce().step(States.of(material, "tuning"))
    for name, weight in base.items():
        assert torch.allclose(weights[name].double(), weight + weight @ step, atol=1e-6)
