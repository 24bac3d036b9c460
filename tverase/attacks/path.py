"""The way from noise to an image, level by level, for attacks that change something on it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor

from ..concepts import evenly
from ..errors import ConfigError
from ..models.base import Model, repeated
from ..noise import NoiseProcess
from ..sampling import Sampling, guided
from .base import Finding, Target

Change = Callable[["Level", Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Level:
    """One noise level, for any noise process.

    A latent of this level is signal * x + spread * noise; the denoiser predicts of_x * x + of_noise * noise.
    """

    timestep: int
    signal: float
    spread: float
    of_x: float
    of_noise: float

    @classmethod
    def at(cls, process: NoiseProcess, timestep: int) -> Self:
        """The four numbers, read off the process itself."""
        t, one, zero = torch.tensor([timestep]), torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
        numbers = [
            way(x, t, noise).item()
            for way in (process.corrupt, process.target)
            for x, noise in ((one, zero), (zero, one))
        ]
        return cls(timestep, *numbers)

    def mixed(self, x: Tensor, noise: Tensor) -> Tensor:
        """The latent of a sample and a noise (N, ...)."""
        return self.signal * x + self.spread * noise

    def parted(self, latents: Tensor, answer: Tensor) -> tuple[Tensor, Tensor]:
        """The sample and the noise (N, ...) that the denoiser's answer means."""
        scale = self.signal * self.of_noise - self.spread * self.of_x
        x = (self.of_noise * latents - self.spread * answer) / scale
        return x, (self.signal * answer - self.of_x * latents) / scale

    def below(self, lower: "Level", x: Tensor, noise: Tensor, fresh: Tensor | None = None, eta: float = 0.0) -> Tensor:
        """The latent of a lower level. eta 0 is DDIM; at eta 1 `fresh` replaces as much noise as in DDPM.

        (Song et al., 2020, arXiv:2010.02502, eq. 12 and 16, for any signal and spread.)
        """
        if fresh is None:
            return lower.mixed(x, noise)
        kept = lower.spread * self.signal / (lower.signal * self.spread)
        new = eta * lower.spread * math.sqrt(max(0.0, 1 - kept**2))
        old = math.sqrt(max(0.0, lower.spread**2 - new**2))
        return lower.signal * x + old * noise + new * fresh

    def above(self, lower: "Level", latents: Tensor, fresh: Tensor) -> Tensor:
        """A latent of a lower level with so much more noise that it belongs to this one."""
        share = self.signal / lower.signal
        return share * latents + math.sqrt(max(0.0, self.spread**2 - (share * lower.spread) ** 2)) * fresh


CLEAN = Level(0, 1.0, 0.0, 0.0, 1.0)  # the end of every path; no denoiser is asked there


def path(model: Model, steps: int, share: float = 1.0) -> tuple[Level, ...]:
    """The levels of the model's own sampler below `share` of all timesteps, down to the clean end."""
    process = model.noise
    times = {min(process.timesteps - 1, round(float(t))) for t in model.sampler(steps).timesteps}
    within = sorted((t for t in times if t < share * process.timesteps), reverse=True)
    return (*(Level.at(process, t) for t in within), CLEAN)


@dataclass(frozen=True)
class Asked:
    """What a model is asked for: conditionings (N, ...), what they are guided away from (N, ...), and how much."""

    cond: Tensor
    against: Tensor
    guidance: float = 1.0

    def rows(self, part: slice) -> "Asked":
        """Some of the rows."""
        return Asked(self.cond[part], self.against[part], self.guidance)

    def answer(self, model: Model, latents: Tensor, level: Level) -> Tensor:
        """The denoiser's answer for latents (N, ...) of one level."""
        timesteps = torch.full((len(latents),), level.timestep, device=latents.device)
        if self.guidance == 1:
            return model.denoise(latents, timesteps, self.cond)
        both = torch.cat([self.against, self.cond])
        answer = model.denoise(torch.cat([latents, latents]), torch.cat([timesteps, timesteps]), both)
        unconditional, conditional = answer.chunk(2)
        return guided(conditional, unconditional, self.guidance)

    def parted(self, model: Model, latents: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        """The sample and the noise (N, ...) that the model sees in latents of one level."""
        return level.parted(latents, self.answer(model, latents, level))


def unchanged(level: Level, latents: Tensor, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The sample and the noise as the model sees them."""
    return x, noise


@dataclass(frozen=True)
class Hand:
    """Draws `count` images of each finding in an attack's own way, by DDIM for any noise process."""

    target: Target
    count: int
    sampling: Sampling

    @classmethod
    def of(cls, target: Target, images: int) -> Self:
        """As many as the target's budget says, or else `images`."""
        return cls(target, target.budget if target.budget > 1 else images, target.sampling or Sampling())

    @property
    def model(self) -> Model:
        """The attacked model."""
        return self.target.model

    def named(self, model: Model | None = None) -> Asked:
        """The concept's names as a model encodes them, each as often as the others, against the empty prompt."""
        model = model or self.model
        cond = model.encode(evenly(self.target.concept.names, self.count))
        return Asked(cond, repeated(model.null, self.count), self.sampling.guidance)

    def empty(self) -> Asked:
        """The empty prompt."""
        null = repeated(self.model.null, self.count)
        return Asked(null, null)

    def asked(self, prompt: str) -> Asked:
        """`name` or `empty`."""
        return self.named() if prompt == "name" else self.empty()

    def owned(self) -> Tensor:
        """Latents (count, ...) of the attacker's images, over and over if he has fewer."""
        latents = self.target.owned(self.count).to(self.model.device)
        return latents[torch.arange(self.count) % len(latents)]

    def start(self) -> Tensor:
        """Standard normal noise (count, ...)."""
        return self.model.start(self.count, self.target.rng)

    def fresh(self, like: Tensor) -> Tensor:
        """Standard normal noise of a latent's shape."""
        return torch.randn(like.shape, generator=self.target.rng).to(like.device)

    def parts(self) -> list[slice]:
        """All rows in batches."""
        size = self.sampling.batch
        return [slice(first, first + size) for first in range(0, self.count, size)]

    @torch.no_grad()
    def draw(
        self,
        levels: Sequence[Level],
        asked: Asked,
        start: Tensor,
        *,
        eta: float = 0.0,
        scale: float = 1.0,
        change: Change = unchanged,
        model: Model | None = None,
    ) -> Tensor:
        """Latents (count, ...) at the end of the path, from latents of its first level.

        eta: the share of new noise (`Level.below`), whose size is multiplied by `scale`. change: of each step's sample and noise.
        model: another one than the attacked.
        """
        drawn = []
        for part in self.parts():
            latents, question = start[part], asked.rows(part)
            for level, lower in pairwise(levels):
                seen = question.parted(model or self.model, latents, level)
                x, noise = change(level, latents, *seen)
                fresh = scale * self.fresh(latents) if eta else None
                latents = level.below(lower, x, noise, fresh, eta)
            drawn.append(latents)
        return torch.cat(drawn)

    @torch.no_grad()
    def images(self, latents: Tensor) -> Tensor:
        """Latents as images (count, 3, H, W), which are counted."""
        self.model.meter.images += len(latents)
        return torch.cat([self.model.to_images(latents[part]) for part in self.parts()])

    def finding(self, name: str, latents: Tensor, asked: Asked, kind: str = "") -> Finding:
        """The images of latents (count, ...) as a finding."""
        return Finding(name, asked.cond, kind, samples=self.images(latents))


def require_maps(latents: Tensor, name: str) -> None:
    """Refuse latents that are no maps (N, C, h, w)."""
    if latents.dim() != 4:
        raise ConfigError(
            f"the attack {name} needs latents (N, channels, height, width), and this model's have {latents.dim()} "
            "dimensions; leave it out, or choose another of `tverase list attacks`."
        )
