"""Training of text encoder and UNet together, on latents that were encoded once. Stops and resumes exactly."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..losses import denoising_loss, random_timesteps
from ..models.build import Shape, scheduler, text_encoder, unet
from ..noise import Diffusion
from ..rng import derive, generator
from ..training import Training, warm_average
from ..world.captions import captions
from ..world.scene import Scenes, render, sample_scenes, without_held_out
from ..world.sprites import Sprites
from ..world.vocabulary import Vocabulary

WARM_UP = 150
PURPOSE = "pretrain/denoiser"


@dataclass(frozen=True)
class Pool:
    """Scenes and their latents (N, C, h, w), scaled to unit variance; captions are made anew each time."""

    scenes: Scenes
    latents: Tensor


@torch.no_grad()
def encode_pool(vae: Any, count: int, sprites: Sprites, words: Vocabulary, rng: torch.Generator) -> Pool:
    """About `count` scenes without the held-out pairs, encoded."""
    scenes = without_held_out(sample_scenes(count, words, rng), words)
    parts = []
    for start in range(0, len(scenes), 256):
        images = render(scenes[start : start + 256], sprites, words, rng)
        parts.append(vae.encode(images).latent_dist.mean * vae.config.scaling_factor)
    return Pool(scenes, torch.cat(parts))


class Trainee:
    """Text encoder and UNet in training together."""

    def __init__(self, shape: Shape, tokenizer: Any, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, f"{PURPOSE}/weights") % 2**32)
            self.text = text_encoder(shape, tokenizer)
            self.unet = unet(shape)
        named = {f"text.{n}": p for n, p in self.text.named_parameters()}
        named |= {f"unet.{n}": p for n, p in self.unet.named_parameters()}
        self.training = Training(named, weight_decay=1e-2)

    def averaged(self) -> tuple[Any, Any]:
        """Text encoder and UNet with their averaged weights, for use; this ends the training."""
        with torch.no_grad():
            for name, parameter in self.training.parameters.items():
                parameter.copy_(self.training.average[name])
        return self.text.eval().requires_grad_(False), self.unet.eval().requires_grad_(False)


def train_denoiser(
    trainee: Trainee, pool: Pool, tokenizer: Any, words: Vocabulary, seed: int, *, steps: int, batch: int, rate: float
) -> Iterator[float]:
    """Yields the loss of each step from that of `trainee` to `steps`.

    Every step has its own stream of random numbers, so a resumed training goes on as if it had not stopped.
    One caption in ten is empty, for classifier-free guidance (Ho & Salimans, 2022, arXiv:2207.12598).
    """
    process = Diffusion.of(scheduler())

    def denoise(noised: Tensor, timesteps: Tensor, cond: Tensor) -> Tensor:
        answer: Tensor = trainee.unet(noised, timesteps, cond).sample
        return answer

    trainee.text.train()
    trainee.unet.train()
    training = trainee.training
    while training.step < steps:
        rng = generator(seed, f"{PURPOSE}/{training.step}")
        which = torch.randint(len(pool.latents), (batch,), generator=rng)
        texts = captions(pool.scenes[which], words, rng)
        silent = torch.rand(batch, generator=rng) < 0.1
        texts = ["" if quiet else text for text, quiet in zip(texts, silent.tolist(), strict=True)]
        tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        clean = pool.latents[which]
        noise = torch.randn(clean.shape, generator=rng)
        timesteps = random_timesteps(batch, process.timesteps, rng)
        cond = trainee.text(tokens)[0]
        loss = denoising_loss(denoise, process, clean, cond, timesteps, noise)
        loss = (loss * process.weight(timesteps)).mean()
        yield training.advance(loss, rate * pace(training.step, steps), warm_average(training.step, 0.999))


def pace(step: int, steps: int) -> float:
    """Warm-up, then half a cosine down to a fiftieth."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    part = (step - WARM_UP) / max(1, steps - WARM_UP)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, part)))
