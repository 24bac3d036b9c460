"""Training of the autoencoder that turns 32-pixel images into 8 x 8 latents."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..models.build import Shape, autoencoder
from ..world.scene import compose, render, sample_scenes
from ..world.sprites import Sprites
from ..world.vocabulary import Vocabulary

KL_WEIGHT = 1e-3  # of the mean over latent values, beside mean absolute errors


def pictures(count: int, sprites: Sprites, words: Vocabulary, rng: torch.Generator) -> Tensor:
    """Images for the autoencoder, a quarter of them of things without a name, so that it learns more than the list."""
    scenes = sample_scenes(count, words, rng)
    named = count - count // 4
    which = torch.randint(len(sprites.others), (count - named,), generator=rng)
    nameless = compose(sprites.others[which, scenes.style[named:]], scenes[named:], words, rng)
    return torch.cat([render(scenes[:named], sprites, words, rng), nameless])


def train_autoencoder(
    sprites: Sprites, words: Vocabulary, shape: Shape, rng: torch.Generator, *, steps: int, batch: int = 32
) -> Iterator[tuple[float, Any]]:
    """Yields (loss, autoencoder) after each step; the last one is trained, its weights averaged over the end."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.initial_seed() % 2**32)
        vae = autoencoder(shape)
    optimiser = torch.optim.AdamW(vae.parameters(), lr=2e-3, weight_decay=1e-4, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=2e-3, total_steps=steps, pct_start=0.05)
    for _ in range(steps):
        images = pictures(batch, sprites, words, rng)
        posterior = vae.encode(images).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=rng)
        decoded = vae.decode(posterior.mean + posterior.std * noise).sample
        loss = reconstruction_loss(decoded, images) + KL_WEIGHT * _kl(posterior)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        yield loss.item(), vae


def reconstruction_loss(decoded: Tensor, images: Tensor) -> Tensor:
    """Mean absolute error of the pixels and of their differences to the right and downwards: edges count twice."""
    error = decoded - images
    across = error[..., :, 1:] - error[..., :, :-1]
    down = error[..., 1:, :] - error[..., :-1, :]
    return error.abs().mean() + across.abs().mean() + down.abs().mean() + functional.mse_loss(decoded, images)


def _kl(posterior: Any) -> Tensor:
    """Mean over latent values of the divergence from a standard normal distribution."""
    value: Tensor = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
    return value


@torch.no_grad()
def set_scale(vae: Any, images: Tensor) -> float:
    """Set `scaling_factor` so that latents of `images` have unit variance; returns it (Rombach et al., 2022)."""
    scale: float = 1 / vae.encode(images).latent_dist.mean.std().item()
    vae.register_to_config(scaling_factor=round(scale, 5))
    return scale
