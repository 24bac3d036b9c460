"""A Stable Diffusion pipeline as a `Model`. Everything that is said to it in words goes through `encode`."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.func import functional_call

from ..noise import NoiseProcess, noise_of
from ..spaces.tokens import TokenSpace
from ..vector import StateDict
from .base import Meter
from .sampler import fresh_sampler
from .text import embeddings_replaced, overflow, token_ids


@dataclass(frozen=True)
class TextToImage:
    """A `StableDiffusionPipeline` taken apart; `theta` are the weights that the UNet is called with.

    The UNet's own parameters are never written. An edited model calls the same module with other weights, so ten edits cost
    ten sets of weights.
    """

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    theta: StateDict
    meter: Meter = field(default_factory=Meter)

    @classmethod
    def of(cls, pipe: Any) -> Self:
        """The parts of a loaded pipeline, frozen and in evaluation mode."""
        for part in (pipe.unet, pipe.vae, pipe.text_encoder):
            part.eval().requires_grad_(False)
        weights = {name: weight.detach() for name, weight in pipe.unet.named_parameters()}
        return cls(pipe.unet, pipe.vae, pipe.text_encoder, pipe.tokenizer, pipe.scheduler, weights)

    def metered(self, meter: Meter) -> Self:
        """The same model, counting on `meter`."""
        return replace(self, meter=meter)

    @property
    def device(self) -> torch.device:
        """Where the UNet lives."""
        return next(iter(self.theta.values())).device

    @property
    def network(self) -> Any:
        """The UNet."""
        return self.unet

    @property
    def noise(self) -> NoiseProcess:
        """The noise process that the scheduler reverses."""
        return noise_of(self.scheduler)

    @property
    def null(self) -> Tensor:
        """The text encoder's answer to the empty caption (1, T, D)."""
        return self.encode([""])

    def weights(self) -> StateDict:
        """The UNet's parameters by name."""
        return self.theta

    def with_weights(self, weights: StateDict) -> Self:
        """The same pipeline with other UNet weights; text encoder and VAE are shared."""
        return replace(self, theta=weights)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Tensor:
        """The text encoder's last hidden states (B, T, D)."""
        states: Tensor = self.text_encoder(token_ids(self.tokenizer, prompts).to(self.device))[0]
        return states

    def overflow(self, prompts: Sequence[str]) -> list[tuple[str, int]]:
        """The prompts that the text encoder would cut, each with the number of tokens that are lost."""
        return overflow(self.tokenizer, prompts)

    def encode_tokens(self, tokens: Tensor, places: slice, points: Tensor) -> Tensor:
        """Hidden states of `tokens` (T,) with the embeddings at `places` replaced by each row of `points`.

        points: (K, E) or (K, m, E); the answer is (K, T, D), differentiable in `points`.
        """
        points = points if points.dim() == 3 else points[:, None]
        with embeddings_replaced(self.token_embedding, places, points):
            states: Tensor = self.text_encoder(tokens.to(self.device).expand(len(points), -1))[0]
        return states

    @property
    def token_embedding(self) -> Any:
        """The text encoder's table of word embeddings, weight (V, E)."""
        return self.text_encoder.get_input_embeddings()

    def space(self, template: str, tokens: int = 1) -> TokenSpace:
        """The embeddings of `tokens` free words side by side in `template`."""
        return TokenSpace(self, template, tokens)

    def denoise(self, noised: Tensor, timesteps: Tensor, cond: Tensor) -> Tensor:
        """The UNet's answer (B, C, h, w); counts B evaluations."""
        self.meter.evaluations += len(noised)
        call = (noised, timesteps, cond)
        answer: Tensor = functional_call(self.unet, dict(self.theta), call, {"return_dict": False})[0]
        return answer

    @torch.no_grad()
    def to_latents(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] as scaled latents (B, C, h, w): the mean of the encoder's answer."""
        encoded = self.vae.encode(images.to(self.device))
        latents = encoded.latent_dist.mean if hasattr(encoded, "latent_dist") else encoded.latents
        scaled: Tensor = latents * self.vae.config.scaling_factor
        return scaled

    @torch.no_grad()
    def to_images(self, latents: Tensor) -> Tensor:
        """Scaled latents as images (B, 3, H, W), clipped to [-1, 1], on the CPU."""
        decoded: Tensor = self.vae.decode(latents / self.vae.config.scaling_factor, return_dict=False)[0]
        return decoded.clamp(-1, 1).cpu()

    def start(self, count: int, rng: torch.Generator) -> Tensor:
        """Standard normal noise (count, C, h, w), drawn on the CPU so that it is the same on every device."""
        side = self.unet.config.sample_size
        height, width = (side, side) if isinstance(side, int) else side
        return torch.randn(count, self.unet.config.in_channels, height, width, generator=rng).to(self.device)

    def sampler(self, steps: int) -> Any:
        """A fresh copy of the pipeline's scheduler."""
        return fresh_sampler(self.scheduler, steps, self.device)
