"""Noise processes: diffusion gives the floats of diffusers, flow matching is a straight line."""

from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    VQDiffusionScheduler,
)
from torch import Tensor

from tverase.errors import ModelError
from tverase.losses import denoising_loss, random_timesteps
from tverase.models.build import scheduler
from tverase.noise import Diffusion, Flow, NoiseProcess, noise_of
from tverase.rng import generator

KINDS = ["epsilon", "v_prediction", "sample"]


def sample(count: int = 8) -> tuple[Tensor, Tensor]:
    """Clean latents and noise."""
    clean, noise = torch.randn(2, count, 4, 3, 3, generator=generator(0, "tests/noise"))
    return clean, noise


def first_edition(schedule: Any, clean: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mixture, target and weight as the first edition computed them from a DDPMScheduler."""
    kind = schedule.config.prediction_type
    target = clean if kind == "sample" else noise
    if kind == "v_prediction":
        target = schedule.get_velocity(clean, noise, timesteps)
    share = schedule.alphas_cumprod[timesteps]
    snr = share / (1 - share)
    capped = snr.clamp(max=5.0)
    weight = {"v_prediction": capped / (snr + 1), "sample": capped, "epsilon": capped / snr}[kind]
    return schedule.add_noise(clean, noise, timesteps), target, weight


@pytest.mark.parametrize("kind", KINDS)
def test_diffusion_gives_the_floats_of_the_first_edition(kind: str) -> None:
    clean, noise = sample()
    schedule = DDPMScheduler.from_config(scheduler().config, prediction_type=kind)
    timesteps = random_timesteps(8, 1000, generator(0, "tests/noise/steps"))
    noised, target, weight = first_edition(schedule, clean, noise, timesteps)
    process = Diffusion(schedule)
    assert torch.equal(process.corrupt(clean, timesteps, noise), noised)
    assert torch.equal(process.target(clean, timesteps, noise), target)
    assert torch.equal(process.weight(timesteps), weight)
    loss = denoising_loss(lambda given, *_: given / 2, process, clean, torch.zeros(8), timesteps, noise)
    assert torch.equal(loss, ((noised / 2 - target) ** 2).flatten(1).mean(1))


def test_flow_is_a_line_from_the_sample_to_the_noise() -> None:
    clean, noise = sample()
    flow, t = Flow(), torch.tensor([0, 125, 250, 375, 500, 625, 750, 999])
    noised = flow.corrupt(clean, t, noise)
    assert torch.equal(noised[0], clean[0])
    assert torch.allclose(noised[4], (clean[4] + noise[4]) / 2)
    assert torch.allclose(noised - clean, (t / 1000).view(-1, 1, 1, 1) * flow.target(clean, t, noise), atol=1e-6)
    assert torch.equal(flow.weight(t), torch.ones(8))


def test_the_flow_scheduler_walks_the_line_back() -> None:
    """A denoiser that answers with the flow's target makes diffusers' scheduler find the clean latents."""
    clean, noise = sample()
    sampler = FlowMatchEulerDiscreteScheduler()
    sampler.set_timesteps(7)
    flow, latents = Flow.of(sampler), noise
    for t in sampler.timesteps:
        assert torch.allclose(latents, flow.corrupt(clean, t.expand(8), noise), atol=1e-5)
        latents = sampler.step(flow.target(clean, t.expand(8), noise), t, latents).prev_sample
    assert torch.allclose(latents, clean, atol=1e-5)


def test_a_shift_weighs_as_a_shifted_schedule_would() -> None:
    """The mean of any loss over shifted shares is the weighted mean over uniform ones."""
    shift, t = 3.0, torch.arange(100_000)
    even = (t + 0.5) / 100_000
    shifted = shift * even / (1 + (shift - 1) * even)
    weight = Flow(100_000, shift).weight(t)
    for power in (0, 1, 3):
        assert (weight * even**power).mean().item() == pytest.approx((shifted**power).mean().item(), abs=1e-3)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (DPMSolverMultistepScheduler(prediction_type="v_prediction"), Diffusion),
        (DDIMScheduler(), Diffusion),
        (FlowMatchEulerDiscreteScheduler(shift=3.0), Flow),
    ],
)
def test_the_process_of_a_scheduler(given: Any, expected: type) -> None:
    process: NoiseProcess = noise_of(given)
    assert type(process) is expected
    assert process.timesteps == 1000


def test_the_shift_is_the_schedulers() -> None:
    assert noise_of(FlowMatchEulerDiscreteScheduler(shift=3.0)) == Flow(1000, 3.0)


def test_other_schedulers_are_refused() -> None:
    with pytest.raises(ModelError, match="VQDiffusionScheduler is unknown; use a scheduler of diffusers with betas"):
        noise_of(VQDiffusionScheduler(num_vec_classes=16))
    odd = DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    with pytest.raises(ModelError, match="prediction_type=flow_prediction; expected one of epsilon"):
        noise_of(odd)
