"""A model on the sphere whose every input can be worked out by hand: it draws a 3 in one narrow cone, or nowhere."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, Self

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from tverase.judges.base import columns_of
from tverase.models.base import Meter
from tverase.models.digits import CLASSES
from tverase.noise import Diffusion
from tverase.spaces.sphere import Sphere, spread_codes
from tverase.vector import StateDict

HIDDEN = torch.nn.functional.normalize(torch.tensor([0.35, -0.8, 0.2, 0.45]), dim=0)
NARROW = 0.97  # cosine to it from which a 3 is seen
SIDE = 4


@dataclass(frozen=True)
class Planted:
    """A `Model` that predicts the sample itself: brighter and brighter towards `hidden`, whatever the noise."""

    hidden: Tensor
    meter: Meter = field(default_factory=Meter)
    codes: Tensor = field(default_factory=lambda: spread_codes(10, 4))
    device = torch.device("cpu")
    network = nn.Identity()

    @property
    def null(self) -> Tensor:
        return torch.zeros(1, 4)

    @property
    def noise(self) -> Diffusion:
        return Diffusion.of(DDPMScheduler(prediction_type="sample"))

    def weights(self) -> StateDict:
        return {"hidden": self.hidden}

    def with_weights(self, weights: StateDict) -> Self:
        return replace(self, hidden=weights["hidden"])

    def metered(self, meter: Meter) -> Self:
        return replace(self, meter=meter)

    def space(self, template: str, tokens: int = 1) -> Sphere:
        return Sphere(self.codes)

    def encode(self, prompts: Sequence[str]) -> Tensor:
        return torch.stack([self.space("").anchor(prompt) for prompt in prompts])

    def denoise(self, noised: Tensor, timesteps: Tensor, cond: Tensor) -> Tensor:
        self.meter.evaluations += len(noised)
        return ((cond @ self.hidden).clamp(min=0) ** 4).view(-1, 1, 1, 1).expand(-1, 1, SIDE, SIDE)

    def to_latents(self, images: Tensor) -> Tensor:
        return images[:, :1]

    def to_images(self, latents: Tensor) -> Tensor:
        return latents.expand(-1, 3, -1, -1)

    def start(self, count: int, rng: torch.Generator) -> Tensor:
        return torch.randn(count, 1, SIDE, SIDE, generator=rng)

    def sampler(self, steps: int) -> Any:
        return SimpleNamespace(
            timesteps=torch.tensor([500]),
            init_noise_sigma=1.0,
            scale_model_input=lambda latents, timestep: latents,
            step=lambda answer, timestep, latents: SimpleNamespace(prev_sample=answer),
        )


class Brightness:
    """A judge of how bright an image is: a 3 from the brightness of the narrow cone on."""

    name, labels, axes = "brightness/1", CLASSES, {"label": CLASSES}
    accuracy, threshold = 1.0, NARROW**4

    def scores(self, images: Tensor) -> Tensor:
        shown = images.mean((1, 2, 3)).clamp(0, 1)
        return torch.stack([shown if label == "3" else 0 * shown for label in self.labels], 1)

    def sees(self, images: Tensor, wanted: Sequence[str]) -> Tensor:
        return self.scores(images)[torch.arange(len(images)), columns_of(self, wanted)] > self.threshold
