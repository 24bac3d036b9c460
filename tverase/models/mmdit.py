"""Transformers with flow matching in the layout of Stable Diffusion 3, with one CLIP text encoder."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..noise import NoiseProcess, noise_of
from ..spaces.tokens import TokenSpace
from ..vector import StateDict
from .base import Conditioning, Meter
from .sampler import fresh_sampler
from .text import embeddings_replaced, overflow, token_ids


@dataclass(frozen=True)
class MMDiT:
    """A `StableDiffusion3Pipeline` in parts; `theta` are the weights that the transformer is called with.

    A conditioning is one row (T * D + P): the text encoder's hidden states (T, D), then its pooled output (P).
    """

    network: Any  # SD3Transformer2DModel
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    theta: StateDict
    meter: Meter = field(default_factory=Meter)

    @classmethod
    def of(cls, transformer: Any, vae: Any, text_encoder: Any, tokenizer: Any, scheduler: Any) -> Self:
        """The parts of a pipeline, frozen and in evaluation mode."""
        for part in (transformer, vae, text_encoder):
            part.eval().requires_grad_(False)
        weights = {name: weight.detach() for name, weight in transformer.named_parameters()}
        return cls(transformer, vae, text_encoder, tokenizer, scheduler, weights)

    def metered(self, meter: Meter) -> Self:
        """The same model, counting on `meter`."""
        return replace(self, meter=meter)

    @property
    def device(self) -> torch.device:
        """Where the transformer is."""
        return next(iter(self.theta.values())).device

    @property
    def noise(self) -> NoiseProcess:
        """The flow that the scheduler reverses."""
        return noise_of(self.scheduler)

    @property
    def null(self) -> Conditioning:
        """The conditioning of the empty caption (1, T * D + P)."""
        return self.encode([""])

    def weights(self) -> StateDict:
        """The transformer's parameters by name."""
        return self.theta

    def with_weights(self, weights: StateDict) -> Self:
        """The same pipeline with other transformer weights; text encoder and VAE are shared."""
        return replace(self, theta=weights)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Prompts as packed conditionings (B, T * D + P)."""
        return self._packed(token_ids(self.tokenizer, prompts).to(self.device))

    def overflow(self, prompts: Sequence[str]) -> list[tuple[str, int]]:
        """The prompts that the text encoder would cut, each with the number of tokens that are lost."""
        return overflow(self.tokenizer, prompts)

    def encode_tokens(self, tokens: Tensor, places: slice, points: Tensor) -> Conditioning:
        """Conditionings of `tokens` (T,) with the embeddings at `places` replaced by each row of `points`.

        points: (K, E) or (K, m, E); the answer is (K, T * D + P), differentiable in `points`.
        """
        points = points if points.dim() == 3 else points[:, None]
        with embeddings_replaced(self.token_embedding, places, points):
            return self._packed(tokens.to(self.device).expand(len(points), -1))

    def _packed(self, tokens: Tensor) -> Conditioning:
        """The penultimate hidden states, as Stable Diffusion 3 takes them, and the projected output, in one row."""
        answer = self.text_encoder(tokens, output_hidden_states=True)
        states, pooled = answer.hidden_states[-2], answer.text_embeds
        wide = self.network.config.joint_attention_dim - states.shape[-1]
        states = nn.functional.pad(states, (0, wide)) if wide else states
        return torch.cat([states.flatten(1), pooled], 1)

    @property
    def token_embedding(self) -> Any:
        """The text encoder's table of word embeddings, weight (V, E)."""
        return self.text_encoder.get_input_embeddings()

    def space(self, template: str, tokens: int = 1) -> TokenSpace:
        """The embeddings of `tokens` free words side by side in `template`."""
        return TokenSpace(self, template, tokens)

    def denoise(self, noised: Tensor, timesteps: Tensor, cond: Conditioning) -> Tensor:
        """The transformer's velocity (B, C, h, w); counts B evaluations."""
        self.meter.evaluations += len(noised)
        shape = self.network.config
        states, pooled = cond[:, : -shape.pooled_projection_dim], cond[:, -shape.pooled_projection_dim :]
        call = (noised, states.reshape(len(cond), -1, shape.joint_attention_dim), pooled, timesteps)
        answer: Tensor = functional_call(self.network, dict(self.theta), call, {"return_dict": False})[0]
        return answer

    @torch.no_grad()
    def to_latents(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] as shifted and scaled latents (B, C, h, w): the mean of the encoder's answer."""
        latents: Tensor = self.vae.encode(images.to(self.device)).latent_dist.mean
        scaled: Tensor = (latents - (self.vae.config.shift_factor or 0.0)) * self.vae.config.scaling_factor
        return scaled

    @torch.no_grad()
    def to_images(self, latents: Tensor) -> Tensor:
        """Latents as images (B, 3, H, W), clipped to [-1, 1], on the CPU."""
        plain = latents / self.vae.config.scaling_factor + (self.vae.config.shift_factor or 0.0)
        decoded: Tensor = self.vae.decode(plain, return_dict=False)[0]
        return decoded.clamp(-1, 1).cpu()

    def start(self, count: int, rng: torch.Generator) -> Tensor:
        """Standard normal noise (count, C, h, w), drawn on the CPU so that it is the same on every device."""
        shape = self.network.config
        return torch.randn(count, shape.in_channels, shape.sample_size, shape.sample_size, generator=rng).to(
            self.device
        )

    def sampler(self, steps: int) -> Any:
        """A fresh copy of the pipeline's scheduler."""
        return fresh_sampler(self.scheduler, steps, self.device)
