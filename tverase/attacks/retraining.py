"""Training an attacked model anew, in all its weights or in a few directions of each matrix."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..concepts import evenly
from ..errors import ConfigError
from ..judges.base import Judge, shows
from ..losses import denoising_loss, random_timesteps
from ..models.base import Model, in_turn
from ..sampling import Sampling, draw
from ..training import Training
from ..vector import StateDict
from .base import Finding, Target

Mode = Literal["full", "low-rank"]


@dataclass(frozen=True)
class Lesson:
    """What is learned: latents (N, ...) with a conditioning (N, ...) each, and how."""

    latents: Tensor
    cond: Tensor
    steps: int
    batch: int
    lr: float
    rank: int = 0  # of the change of each matrix; 0: all weights are free


def factors(weights: StateDict, rank: int, rng: torch.Generator) -> dict[str, Tensor]:
    """`NAME/down` (rank, in) at random and `NAME/up` (out, rank) zero for each matrix; a convolution is (out, in * k * k).

    (LoRA, Hu et al., 2021, arXiv:2106.09685.)
    """
    made: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if weight.dim() > 1:
            rows, columns = len(weight), weight[0].numel()
            down = torch.randn(rank, columns, generator=rng) / columns**0.5
            made |= {f"{name}/down": down.to(weight), f"{name}/up": weight.new_zeros(rows, rank)}
    return made


def merged(weights: StateDict, factors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights with the product of their factors added, differentiable in the factors."""
    changes = {
        name: (factors[f"{name}/up"] @ factors[f"{name}/down"]).view_as(weight)
        for name, weight in weights.items()
        if f"{name}/up" in factors
    }
    return {name: weight + changes[name] if name in changes else weight for name, weight in weights.items()}


def retrained(model: Model, lesson: Lesson, rng: torch.Generator) -> Iterator[tuple[float, StateDict]]:
    """Yields (loss, weights so far) after each step; the model's own weights stay as they are."""
    weights, process = model.weights(), model.noise
    training = Training.of(factors(weights, lesson.rank, rng) if lesson.rank else weights)

    def so_far(learned: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return merged(weights, learned) if lesson.rank else learned

    for _ in range(lesson.steps):
        which = torch.randint(len(lesson.latents), (lesson.batch,), generator=rng)
        clean = lesson.latents[which]
        noise = torch.randn(clean.shape, generator=rng).to(clean.device)
        t = random_timesteps(lesson.batch, process.timesteps, rng).to(clean.device)
        student = model.with_weights(so_far(training.parameters))
        losses = denoising_loss(student.denoise, process, clean, lesson.cond[which], t, noise)
        value = training.advance((losses * process.weight(t)).mean(), lesson.lr, 0.0)
        yield value, {name: weight.detach() for name, weight in so_far(training.result()).items()}


@dataclass(frozen=True)
class Namer:
    """Draws the concept's names with other weights of the attacked model."""

    target: Target
    count: int
    sampling: Sampling

    @classmethod
    def of(cls, target: Target, images: int) -> "Namer":
        """As many images of a finding as the target's budget says, or else `images`."""
        return cls(target, target.budget if target.budget > 1 else images, target.sampling or Sampling())

    def cond(self, count: int) -> Tensor:
        """The names (count, ...), each as often as the others."""
        return self.target.model.encode(evenly(self.target.concept.names, count))

    def captions(self, count: int) -> Tensor:
        """The names (count, ...) one after the other, as the images that the attacker owns were drawn."""
        return in_turn(self.target.model.encode(list(self.target.concept.names)), count)

    def drawn(self, weights: StateDict, count: int) -> Tensor:
        """`count` fresh images, (count, 3, H, W)."""
        model = self.target.model.with_weights(weights)
        return draw(model, self.cond(count), self.target.rng, self.sampling)

    def shown(self, weights: StateDict, count: int, judge: Judge) -> int:
        """In how many of `count` fresh images the concept is seen."""
        return int(shows(judge, self.drawn(weights, count), self.target.concept.label).sum())

    def finding(self, name: str, weights: StateDict, kind: str = "") -> Finding:
        """Fresh images as a finding."""
        drawn = self.drawn(weights, self.count)
        return Finding(name, self.cond(self.count), kind, samples=drawn)


def judge_of(target: Target, name: str) -> Judge:
    """The target's judge; a `ConfigError` if it has none."""
    if target.judge is None:
        raise ConfigError(
            f"the attack {name} chooses by what a judge sees; give its target a judge, or choose another of "
            "`tverase list attacks`."
        )
    return target.judge
