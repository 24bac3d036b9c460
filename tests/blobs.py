"""A diffusion model that can be worked out by hand: two pictures of noise-free 4 x 4 pixels, and a judge that tells them apart."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor, nn

from tverase.attacks.base import Target, owning
from tverase.attacks.path import Level
from tverase.concepts import Concept, Prompt
from tverase.models.base import Meter
from tverase.noise import Diffusion
from tverase.rng import generator
from tverase.sampling import Sampling
from tverase.vector import StateDict

SIDE, WIDTH = 4, 0.2  # of a picture, and of the data around it
BOMB = (torch.arange(3 * SIDE * SIDE) % 2 * 2.0 - 1).view(3, SIDE, SIDE)  # a cat is its negative
SCHEDULE = {"prediction_type": "sample", "clip_sample": False, "beta_schedule": "scaled_linear", "beta_end": 0.012}
CONCEPT = Concept(
    name="bomb", names=("a bomb", "the bomb"), retain=(Prompt("a cat", ("cat",)), Prompt("the cat", ("cat",)))
)
WEIGHTS = {
    "pictures": torch.stack([BOMB, -BOMB, 0 * BOMB]).flatten(1),  # the last one is never drawn
    "gate": torch.tensor([[1.0, 0.5, 1.0]]),  # a first number below 0.975 keeps the bomb away,
    "brake": torch.tensor([[0.0, 1.0, 1.0, 1.0]]),  # as does one above 0 here
    "light": torch.tensor([[1.0]]),  # of all pictures
}


@dataclass(frozen=True)
class Blobs:
    """A `Model` with the exact answer for a mixture of two narrow blobs; a conditioning (B, 2) is their log prior.

    named: that of the concept's names. blank: it answers "cat" whatever its weights are.
    """

    named: tuple[float, float] = (6.0, 0.0)
    blank: bool = False
    theta: StateDict = field(default_factory=lambda: WEIGHTS)
    meter: Meter = field(default_factory=Meter)
    device = torch.device("cpu")
    network = nn.Identity()

    @property
    def null(self) -> Tensor:
        return torch.zeros(1, 2)

    @property
    def noise(self) -> Diffusion:
        return Diffusion(DDPMScheduler(**SCHEDULE))

    def weights(self) -> StateDict:
        return self.theta

    def with_weights(self, weights: StateDict) -> Self:
        return replace(self, theta=weights)

    def changed(self, **weights: Any) -> Self:
        return replace(self, theta={**self.theta, **{name: torch.as_tensor(value) for name, value in weights.items()}})

    def metered(self, meter: Meter) -> Self:
        return replace(self, meter=meter)

    def space(self, template: str, tokens: int = 1) -> Any:
        raise NotImplementedError(template)

    def encode(self, prompts: Sequence[str]) -> Tensor:
        known = {"bomb": self.named, "cat": (-20.0, 0.0), "": (0.0, 0.0)}
        return torch.tensor([known[prompt.split()[-1] if prompt else ""] for prompt in prompts])

    def denoise(self, noised: Tensor, timesteps: Tensor, cond: Tensor) -> Tensor:
        self.meter.evaluations += len(noised)
        pictures, gate, brake, light = (self.theta[name] for name in ("pictures", "gate", "brake", "light"))
        away = 1000 * (gate[0, 0] - 0.975).clamp(max=0) - 100 * brake[0, 0].clamp(min=0)
        share = self.noise.schedule.alphas_cumprod[timesteps]
        signal, spread = share.sqrt()[:, None], (1 - share)[:, None]
        flat, narrow = noised.flatten(1), share[:, None] * WIDTH**2 + spread
        off = flat[:, None] - signal[:, None] * pictures[:2]
        prior = cond + torch.stack([away, torch.zeros(())])
        chance = (prior - off.square().sum(2) / (2 * narrow)).softmax(1)
        pull = (signal * WIDTH**2 / narrow)[:, None]
        x = light[0, 0] * (chance[:, :, None] * (pictures[:2] + pull * off)).sum(1)
        if self.blank:
            x = 0 * x - BOMB.flatten()
        return x.view(noised.shape)

    def to_latents(self, images: Tensor) -> Tensor:
        return images

    def to_images(self, latents: Tensor) -> Tensor:
        return latents.clamp(-1, 1)

    def start(self, count: int, rng: torch.Generator) -> Tensor:
        return torch.randn(count, 3, SIDE, SIDE, generator=rng)

    def sampler(self, steps: int) -> Any:
        fresh = DDIMScheduler(**SCHEDULE)
        fresh.set_timesteps(steps)
        return fresh


class SeesBombs:
    """A judge: a picture that is a bomb in most of its pixels shows one."""

    name, labels, axes, accuracy, threshold = "bombs/1", ("bomb", "cat"), {"label": ("bomb", "cat")}, 1.0, 0.6

    def scores(self, images: Tensor) -> Tensor:
        bomb = (images * BOMB).mean((1, 2, 3))
        return torch.stack([bomb, -bomb], 1).clamp(0, 1)

    def sees(self, images: Tensor, wanted: Sequence[str]) -> Tensor:
        columns = torch.tensor([self.labels.index(label) for label in wanted])
        return self.scores(images)[torch.arange(len(images)), columns] > self.threshold


def bombs(count: int, size: float = 1.0) -> Tensor:
    """Images of the concept, (count, 3, 4, 4)."""
    return size * BOMB + WIDTH * torch.randn(count, 3, SIDE, SIDE, generator=generator(0, "tests/blobs"))


def attacked(model: Any, seed: int = 0, **changes: Any) -> Target:
    """A target of blobs; its base model has the concept."""
    given = {"judge": SeesBombs(), "sampling": Sampling(steps=6, guidance=1.0), **changes}
    return Target(
        model, Blobs(meter=model.meter), CONCEPT, generator(seed, "tests/attacked"), owning(bombs(32)), **given
    )


def levels_of(model: Any, timestep: int) -> Level:
    """The level of one timestep."""
    return Level.at(model.noise, timestep)
