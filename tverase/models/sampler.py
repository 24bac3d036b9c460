"""Samplers: diffusers' schedulers as the drawing loop uses them."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


def fresh_sampler(scheduler: Any, steps: int, device: torch.device) -> Any:
    """A copy of a diffusers scheduler with its timesteps set; a flow-matching one gets the members that it lacks."""
    fresh = type(scheduler).from_config(scheduler.config)
    fresh.set_timesteps(steps, device=device)
    return fresh if hasattr(fresh, "scale_model_input") else FlowSampler(fresh)


@dataclass(frozen=True)
class FlowSampler:
    """A flow-matching scheduler behind the interface of the others: its latents are never scaled."""

    scheduler: Any
    init_noise_sigma: float = 1.0

    @property
    def timesteps(self) -> Tensor:
        """The timesteps from noise to sample, (steps,)."""
        found: Tensor = self.scheduler.timesteps
        return found

    def scale_model_input(self, latents: Tensor, timestep: Tensor) -> Tensor:
        """The latents as they are."""
        return latents

    def step(self, answer: Tensor, timestep: Tensor, latents: Tensor, generator: Any = None) -> Any:
        """One step of the scheduler; `prev_sample` of the answer holds the latents."""
        return self.scheduler.step(answer, timestep, latents, generator=generator)
