"""A model with something in front of its denoiser; all else is the model's own."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..noise import NoiseProcess
from ..spaces.base import InputSpace
from ..vector import StateDict
from .base import Meter, Model


@dataclass(frozen=True)
class Wrapped(ABC):
    """A `Model` by what it wraps; a subclass answers in `denoise`."""

    model: Model

    @abstractmethod
    def denoise(self, noised: Tensor, timesteps: Tensor, cond: Tensor) -> Tensor:
        """The answer in place of the model's own."""

    def __getattr__(self, name: str) -> Any:
        """What else the model has, such as a tokenizer."""
        if name.startswith("__") or name == "model":
            raise AttributeError(name)
        return getattr(self.model, name)

    @cached_property
    def null(self) -> Tensor:
        """The model's own, encoded once."""
        return self.model.null

    @property
    def meter(self) -> Meter:
        """The model's own."""
        return self.model.meter

    @property
    def network(self) -> nn.Module:
        """The model's own."""
        return self.model.network

    @property
    def device(self) -> torch.device:
        """The model's own."""
        return self.model.device

    @property
    def noise(self) -> NoiseProcess:
        """The model's own."""
        return self.model.noise

    def metered(self, meter: Meter) -> Self:
        """The same with the model counting on `meter`."""
        return replace(self, model=self.model.metered(meter))

    def weights(self) -> StateDict:
        """The model's own."""
        return self.model.weights()

    def with_weights(self, weights: StateDict) -> Self:
        """The same in front of other weights."""
        return replace(self, model=self.model.with_weights(weights))

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """As the model does: what is in front comes after the text encoder."""
        return self.model.encode(prompts)

    def space(self, template: str, tokens: int = 1) -> InputSpace:
        """The model's own: an attacker may say what he likes."""
        return self.model.space(template, tokens)

    def to_latents(self, images: Tensor) -> Tensor:
        """As the model does."""
        return self.model.to_latents(images)

    def to_images(self, latents: Tensor) -> Tensor:
        """As the model does."""
        return self.model.to_images(latents)

    def start(self, count: int, rng: torch.Generator) -> Tensor:
        """As the model does."""
        return self.model.start(count, rng)

    def sampler(self, steps: int) -> Any:
        """As the model does."""
        return self.model.sampler(steps)
