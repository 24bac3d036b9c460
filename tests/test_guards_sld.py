"""SLD is the published rule along a trajectory, its momentum belongs to one, and attacks find it outside of one as well."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from erasing import material_of
from guarded import THREE, drawn, noise, paired
from torch import Tensor

from tverase.erasers.base import Material
from tverase.erasers.guarding import Track, to_epsilon
from tverase.erasers.sld import Sld
from tverase.models.base import Model, repeated
from tverase.models.text2image import TextToImage
from tverase.noise import Diffusion, Flow
from tverase.rng import generator
from tverase.sampling import guided, trajectory


@pytest.fixture(scope="module")
def material(pico: TextToImage) -> Material:
    return material_of(pico)


@pytest.fixture(scope="module")
def prompts(pico: TextToImage) -> Tensor:
    return pico.encode(["a bomb", "a cat"])


def published(settings: Sld, epsilons: Iterator[tuple[Tensor, Tensor, Tensor]], acts: list[bool]) -> list[Tensor]:
    """gamma of each step as the authors' code has it, from (without, prompted, concept) in units of the noise."""
    found, momentum = [], torch.zeros(())
    for (empty, prompted, concept), on in zip(epsilons, acts, strict=True):
        scale = (settings.scale * (prompted - concept).abs()).clamp(max=1)
        scale = torch.where(prompted - concept >= settings.threshold, 0, scale)
        gamma = (concept - empty) * scale + settings.momentum * momentum
        momentum = settings.beta * momentum + (1 - settings.beta) * gamma
        found.append(gamma if on else torch.zeros_like(gamma))
    return found


def sld_steps(model: Model, guarded: Model, name: Tensor, times: list[int], cond: Tensor) -> list[tuple[Tensor, ...]]:
    """For each timestep: the guard's gamma, and the three answers, in units of the noise."""
    rows = []
    for number, time in enumerate(times):
        noised = noise(model, len(cond), seed=number)
        both, both_times = torch.cat([noised, noised]), torch.full((2 * len(cond),), time)
        given = torch.cat([repeated(model.null, len(cond)), cond])
        unit = to_epsilon(model.noise, both_times[: len(cond)], noised)
        empty, prompted = model.denoise(both, both_times, given).chunk(2)
        concept = model.denoise(noised, both_times[: len(cond)], repeated(name, len(cond)))
        answer = guarded.denoise(both, both_times, given).chunk(2)
        assert torch.equal(answer[0], empty)
        rows.append((unit * (prompted - answer[1]), unit * empty, unit * prompted, unit * concept))
    return rows


def test_sld_is_the_published_rule_along_a_trajectory(material: Material, prompts: Tensor) -> None:
    settings, model = Sld(threshold=0.5), material.model
    times = [999, 856, 713, 570]
    guarded = settings.run(material).guarded(model)
    with torch.no_grad():
        rows = sld_steps(model, guarded, model.encode(["a bomb"]), times, prompts)
        wanted = published(settings, ((a, b, c) for _, a, b, c in rows), [False, True, True, True])
    for (found, *_), gamma in zip(rows, wanted, strict=True):
        assert torch.allclose(found, gamma, atol=1e-5)
    assert not wanted[0].any()
    assert all(gamma.any() for gamma in wanted[1:])


def test_slds_momentum_begins_anew_with_each_trajectory(material: Material, prompts: Tensor) -> None:
    guarded = Sld(warmup=0.0).run(material).guarded(material.model)
    first = drawn(guarded, prompts)
    other = drawn(guarded, material.model.encode(["a dog", "an owl"]), seed=1)
    assert torch.equal(drawn(guarded, prompts), first)
    parts = torch.cat([drawn(guarded, prompts, THREE.model_copy(update={"batch": 1}))])
    assert torch.allclose(parts, first, atol=1e-4)
    fresh = Sld(warmup=0.0, momentum=0.0).run(material).guarded(material.model)
    assert not torch.allclose(drawn(fresh, prompts), first)
    assert not torch.equal(other, first)


def test_sld_outside_of_a_trajectory_has_no_momentum(material: Material, prompts: Tensor) -> None:
    """A gradient attack asks at random timesteps, for prompts alone: each call is the same whatever came before."""
    guarded, model = Sld(warmup=0.0).run(material).guarded(material.model), material.model
    noised, mixed = noise(model), torch.tensor([900, 300])
    alone = guarded.denoise(noised, mixed, prompts)
    list(trajectory(guarded, prompts, noised, THREE))
    assert torch.equal(guarded.denoise(noised, mixed, prompts), alone)
    learned = prompts.clone().requires_grad_()
    steps = [guarded.denoise(noised, torch.full((2,), t), learned) for t in (900, 500)]
    again = guarded.denoise(noised, torch.full((2,), 500), learned)
    assert torch.equal(steps[1], again)


def test_sld_answers_prompts_alone_as_in_guidance(material: Material, prompts: Tensor) -> None:
    """What an attack learns against is what `trajectory` draws with."""
    settings, model = Sld(warmup=0.0, momentum=0.0, scale=1.0, threshold=100.0), material.model
    guarded = settings.run(material).guarded(model)
    both, times, cond = paired(model, prompts, 600)
    alone = guarded.denoise(both[:2], times[:2], prompts)
    assert torch.allclose(guarded.denoise(both, times, cond)[2:], alone, atol=1e-5)
    mixed = guarded.denoise(both[:2], times[:2], torch.cat([model.null, prompts[1:]]))
    assert torch.allclose(mixed[0], model.denoise(both[:1], times[:1], model.null)[0], atol=1e-5)
    assert torch.allclose(mixed[1], alone[1], atol=1e-5)


def test_sld_of_weight_zero_is_plain(material: Material, prompts: Tensor) -> None:
    for settings in (Sld(scale=0.0), Sld(warmup=1.0)):
        guarded = settings.run(material).guarded(material.model)
        assert torch.allclose(drawn(guarded, prompts), drawn(material.model, prompts), atol=1e-6)


def test_a_track_is_the_next_step_of_the_same_trajectory_only(pico: TextToImage, prompts: Tensor) -> None:
    track, at = Track(), lambda t: torch.full((2,), t)
    assert track.recall(pico, at(900), prompts) is None
    value = torch.ones(2)
    for time, cond, model, found in (
        (800, prompts, pico, True),
        (900, prompts, pico, False),  # not a lower timestep
        (950, prompts, pico, False),
        (800, prompts + 1, pico, False),
        (800, prompts[:1], pico, False),
        (800, prompts, replace(pico), False),
        (800, prompts.clone().requires_grad_(), pico, False),
    ):
        track.keep(pico, at(900), prompts, value)
        assert (track.recall(model, at(time)[: len(cond)], cond) is not None) == found
    track.keep(pico, torch.tensor([900, 800]), prompts, value)
    assert track.recall(pico, at(700), prompts) is None


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_differences_are_in_units_of_the_noise(pico: TextToImage, prediction: str) -> None:
    schedule = type(pico.scheduler).from_config(pico.scheduler.config, prediction_type=prediction)
    check_unit(Diffusion.of(schedule))


def test_differences_of_a_flow_as_well() -> None:
    check_unit(Flow())


def check_unit(process: Any) -> None:
    """Two samples with one noised sample: their noises differ by the factor times the difference of what is predicted."""
    times = torch.tensor([100, 500, 900])
    rng = generator(0, "tests/guards/unit")
    x, n, m = (torch.randn(3, 4, generator=rng) for _ in range(3))
    noised = process.corrupt(x, times, n)
    share, other = (process.corrupt(a, times, b) for a, b in ((torch.ones(3, 4), 0 * x), (0 * x, torch.ones(3, 4))))
    y = (noised - other * m) / share
    difference = process.target(x, times, n) - process.target(y, times, m)
    assert torch.allclose(to_epsilon(process, times, x) * difference, n - m, atol=1e-3)


def test_the_rule_of_sld_is_the_formula_of_guidance(material: Material, prompts: Tensor) -> None:
    """u + g (c - gamma - u), as the paper writes it."""
    model, guarded = material.model, Sld(warmup=0.0, momentum=0.0).run(material).guarded(material.model)
    call = paired(model, prompts, 600)
    without_, with_ = guarded.denoise(*call).chunk(2)
    plain = model.denoise(*call).chunk(2)
    gamma = plain[1] - with_
    assert torch.allclose(guided(with_, without_, 3.0), plain[0] + 3 * (plain[1] - plain[0] - gamma), atol=1e-4)
