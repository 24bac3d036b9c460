"""What a model is to the method: editable weights, a conditioning, a loss and a way to draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from ..noise import NoiseProcess
from ..spaces.base import InputSpace
from ..vector import StateDict

# (B, ...): rows can be indexed, joined, expanded and moved; only the model knows what a row holds.
Conditioning = Tensor


@dataclass
class Meter:
    """Counts denoiser evaluations: one sample through the network once. All models of one run share a meter."""

    evaluations: int = 0
    images: int = 0


def repeated(cond: Tensor, count: int) -> Tensor:
    """One conditioning (1, ...), `count` times; no memory is copied."""
    return cond.expand(count, *cond.shape[1:])


def in_turn(cond: Tensor, count: int) -> Tensor:
    """The rows of `cond` (M, ...) over and over, `count` in all, evenly over the whole if there are fewer."""
    return cond[torch.arange(count) * max(1, len(cond) // max(1, count)) % len(cond)]


def uncaptioned(model: "Model", count: int, rng: torch.Generator) -> Tensor:
    """What `count` images are fine-tuned with in place of a caption: the empty one.

    A model that knows none has `labels` (M, ...), of which each image gets one at random (the digits of Pham et al., 2024).
    """
    labels: Tensor | None = getattr(model, "labels", None)
    if labels is None:
        return repeated(model.null, count)
    return labels[torch.randint(len(labels), (count,), generator=rng)]


class Model(Protocol):
    """A conditional generative model with an editable denoiser.

    Shapes: cond (B, ...), whatever one input is to this model; images (B, 3, H, W) in [-1, 1]; latents (B, ...).
    """

    @property
    def meter(self) -> Meter:
        """Where it counts."""
        ...

    @property
    def null(self) -> Conditioning:
        """The conditioning of the empty caption, for a batch of one."""
        ...

    @property
    def network(self) -> nn.Module:
        """The denoiser, the module whose weights are edited."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    @property
    def noise(self) -> NoiseProcess:
        """How samples are mixed with noise, and what the denoiser predicts."""
        ...

    def metered(self, meter: Meter) -> Self:
        """The same model, counting on `meter`."""
        ...

    def weights(self) -> StateDict:
        """The denoiser's parameters, the only ones an edit touches."""
        ...

    def with_weights(self, weights: StateDict) -> Self:
        """The same model with other denoiser weights; everything else is shared, `self` stays as it was."""
        ...

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Prompts as conditionings."""
        ...

    def space(self, template: str, tokens: int = 1) -> InputSpace:
        """The space in which inversion searches this model's inputs: `tokens` free words in `template`, if it has words."""
        ...

    def denoise(self, noised: Tensor, timesteps: Tensor, cond: Conditioning) -> Tensor:
        """The denoiser's answer, differentiable in its weights and in `cond`."""
        ...

    def to_latents(self, images: Tensor) -> Tensor:
        """Images as what the denoiser works on, unit variance."""
        ...

    def to_images(self, latents: Tensor) -> Tensor:
        """Latents as images in [-1, 1]."""
        ...

    def start(self, count: int, rng: torch.Generator) -> Tensor:
        """Standard normal noise in the latents' shape."""
        ...

    def sampler(self, steps: int) -> Any:
        """A scheduler with its timesteps set: `timesteps`, `init_noise_sigma`, `scale_model_input` and `step`, as diffusers'."""
        ...
