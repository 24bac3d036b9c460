"""How a model's training data is mixed with noise, and what the denoiser predicts from the mixture."""

from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from .errors import ModelError

GAMMA = 5.0  # the cap of the signal-to-noise ratio in the loss weight
PREDICTIONS = ("epsilon", "v_prediction", "sample")


class NoiseProcess(Protocol):
    """The forward process of a generative model.

    x, noise: (B, ...); t: timesteps (B,), long, from 0 (clean) to `timesteps` - 1 (noise). The denoiser receives the same t.
    """

    @property
    def timesteps(self) -> int:
        """The number of timesteps."""
        ...

    def corrupt(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """The sample x with the noise of timestep t."""
        ...

    def target(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """What the denoiser predicts for `corrupt(x, t, noise)`."""
        ...

    def weight(self, t: Tensor) -> Tensor:
        """The weight of each timestep in the loss, (B,)."""
        ...


@dataclass(frozen=True)
class Diffusion:
    """Diffusion with the noise schedule of a diffusers `DDPMScheduler`; it predicts epsilon, v or the sample."""

    schedule: Any

    @classmethod
    def of(cls, scheduler: Any) -> Self:
        """The process that a diffusers scheduler reverses; `ModelError` if its prediction type is unknown."""
        from diffusers import DDPMScheduler

        kind = scheduler.config.get("prediction_type", "epsilon")
        if kind not in PREDICTIONS:
            raise ModelError(
                f"the scheduler {type(scheduler).__name__} has prediction_type={kind}; expected one of "
                f"{', '.join(PREDICTIONS)}, or a flow-matching scheduler."
            )
        return cls(DDPMScheduler.from_config(scheduler.config))

    @property
    def timesteps(self) -> int:
        """The number of training timesteps of the schedule."""
        total: int = self.schedule.config.num_train_timesteps
        return total

    def corrupt(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """sqrt(alpha_bar) x + sqrt(1 - alpha_bar) noise."""
        noised: Tensor = self.schedule.add_noise(x, noise, t)
        return noised

    def target(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """The noise, the velocity (Salimans & Ho, 2022, arXiv:2202.00512) or the sample."""
        kind = self.schedule.config.prediction_type
        if kind == "v_prediction":
            velocity: Tensor = self.schedule.get_velocity(x, noise, t)
            return velocity
        return x if kind == "sample" else noise

    def signal_to_noise(self, t: Tensor) -> Tensor:
        """alpha_bar / (1 - alpha_bar) at each timestep, (B,)."""
        share: Tensor = self.schedule.alphas_cumprod.to(t.device)[t]
        return share / (1 - share)

    def weight(self, t: Tensor) -> Tensor:
        """Min-SNR weights: nearly clean timesteps do not dominate the loss (Hang et al., 2023, arXiv:2303.09556)."""
        snr = self.signal_to_noise(t)
        capped = snr.clamp(max=GAMMA)
        kind = self.schedule.config.prediction_type
        if kind == "v_prediction":
            return capped / (snr + 1)
        return capped if kind == "sample" else capped / snr


@dataclass(frozen=True)
class Flow:
    """Rectified flow (Liu et al., 2022, arXiv:2209.03003): a straight line from the sample to the noise.

    shift: above 1 the loss weighs noisy timesteps more, as a shifted schedule does; at 1 all weights are 1.
    (Esser et al., 2024, arXiv:2403.03206, section 5.3.2.)
    """

    timesteps: int = 1000
    shift: float = 1.0

    @classmethod
    def of(cls, scheduler: Any) -> Self:
        """The process that a flow-matching scheduler of diffusers reverses."""
        return cls(scheduler.config.num_train_timesteps, scheduler.config.get("shift") or 1.0)

    def share(self, t: Tensor) -> Tensor:
        """The share of noise s = t / timesteps, (B,), float32."""
        return t.to(torch.float32) / self.timesteps

    def corrupt(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """(1 - s) x + s noise."""
        share = self.share(t).to(x.device, x.dtype).view(-1, *[1] * (x.dim() - 1))
        return (1 - share) * x + share * noise

    def target(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """The velocity noise - x."""
        return noise - x

    def weight(self, t: Tensor) -> Tensor:
        """The density of a shifted share s where a uniform one has density 1, (B,)."""
        return self.shift / (self.shift - (self.shift - 1) * self.share(t)) ** 2


def noise_of(scheduler: Any) -> NoiseProcess:
    """The process that a diffusers scheduler reverses; `ModelError` if it is neither diffusion nor flow matching."""
    if "FlowMatch" in type(scheduler).__name__:
        return Flow.of(scheduler)
    if hasattr(scheduler, "betas") or hasattr(scheduler, "alphas_cumprod"):
        return Diffusion.of(scheduler)
    raise ModelError(
        f"the noise process of the scheduler {type(scheduler).__name__} is unknown; use a scheduler of diffusers with "
        "betas, such as DDIMScheduler, or a flow-matching one, such as FlowMatchEulerDiscreteScheduler."
    )
