"""Drawing: an image depends on its own noise, not on the images that are drawn with it."""

from dataclasses import replace

import diffusers
import pytest
import torch
from torch import Tensor

from tverase.models.text2image import TextToImage
from tverase.rng import generator
from tverase.sampling import Sampling, draw_latents, trajectory

PROMPTS = ["a bomb", "an owl", "a red apple", "a noto skull", "a car"]
STOCHASTIC = ["DDPMScheduler", "EulerAncestralDiscreteScheduler", "LCMScheduler"]
DETERMINISTIC = ["DPMSolverMultistepScheduler", "DDIMScheduler", "EulerDiscreteScheduler"]


def scheduled(model: TextToImage, name: str) -> TextToImage:
    """The model with another of diffusers' schedulers."""
    return replace(model, scheduler=getattr(diffusers, name).from_config(model.scheduler.config))


def drawn(model: TextToImage, count: int, batch: int, seed: int = 0) -> Tensor:
    """Latents of the first `count` prompts."""
    settings = Sampling(steps=5, batch=batch)
    return draw_latents(model, model.encode(PROMPTS[:count]), generator(seed, "tests/rows"), settings)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_an_image_depends_on_its_own_noise_alone(pico: TextToImage, name: str) -> None:
    model = scheduled(pico, name)
    whole = drawn(model, 5, 64)
    for count, batch in ((5, 1), (5, 2), (3, 64), (1, 1)):
        assert torch.allclose(drawn(model, count, batch), whole[:count], atol=1e-4)
    assert (drawn(model, 5, 64, seed=1) - whole).abs().max() > 1e-2


@pytest.mark.parametrize("name", STOCHASTIC)
def test_rows_have_different_noise_at_each_step(pico: TextToImage, name: str) -> None:
    """A sampler that is given the same start twice adds the same noise; another start gets other noise."""
    model = scheduled(pico, name)
    start = model.start(2, generator(0, "tests/rows/start"))
    cond = model.encode(["a bomb"] * 3)
    *_, latents = trajectory(model, cond, start[[0, 0, 1]], Sampling(steps=5))
    assert torch.allclose(latents[0], latents[1], atol=1e-4)
    assert (latents[0] - latents[2]).abs().max() > 1e-2


@pytest.mark.parametrize("name", STOCHASTIC)
def test_these_samplers_are_stochastic(pico: TextToImage, name: str) -> None:
    """Without a generator they differ from run to run, so that the tests above test something."""
    sampler = scheduled(pico, name).sampler(5)
    start = pico.start(1, generator(0, "tests/rows/start"))
    t = sampler.timesteps[0]
    one, other = (
        scheduled(pico, name)
        .sampler(5)
        .step(start, t, start, generator=torch.Generator().manual_seed(seed))
        .prev_sample
        for seed in (0, 1)
    )
    assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_deterministic_samplers_ignore_the_generators(pico: TextToImage, name: str) -> None:
    """To the bit what the scheduler gives without any generator."""
    model = scheduled(pico, name)
    start, cond = model.start(2, generator(0, "tests/rows/start")), model.encode(PROMPTS[:2])
    *_, latents = trajectory(model, cond, start, Sampling(steps=5, guidance=1.0))
    sampler = model.sampler(5)
    plain = start * sampler.init_noise_sigma
    for t in sampler.timesteps:
        answer = model.denoise(sampler.scale_model_input(plain, t), t.expand(2), cond)
        plain = sampler.step(answer, t, plain).prev_sample
    assert torch.equal(latents, plain)
