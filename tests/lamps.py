"""A model that can be worked out by hand: three lamps, four weights, and a judge that sees which lamp burns."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

from tverase.concepts import Concept, Prompt
from tverase.context import Context
from tverase.inversion.diverse import Invert
from tverase.models.base import Meter
from tverase.noise import Diffusion
from tverase.sampling import Sampling
from tverase.trial import Inputs, ModelTrial
from tverase.vector import StateDict, TaskVector

LAMPS = ("bomb", "cat", "dog")
SEEN = 0.45  # a lamp that is darker is off

DOWN, MID, UP, OUT = (
    f"{module}.weight"
    for module in (
        "down_blocks.0.resnets.0.conv1",
        "mid_block.resnets.0.conv1",
        "up_blocks.0.resnets.0.conv1",
        "conv_out",
    )
)
THETA = {DOWN: torch.tensor(0.5), MID: torch.tensor(0.5), UP: torch.tensor(1.0), OUT: torch.tensor(1.0)}
# At alpha 2 the bomb goes out, for which DOWN and MID are both needed. MID dims the dog as well, UP only the cat: it is
# useless and harmful. OUT does nothing at all.
TAU = TaskVector({DOWN: torch.tensor(0.25), MID: torch.tensor(0.25), UP: torch.tensor(0.4), OUT: torch.tensor(0.1)})
ALPHA = 2.0


@dataclass(frozen=True)
class Lamps:
    """A `Model` that predicts the sample itself: the lamp that was asked for, as bright as the weights make it."""

    theta: StateDict = field(default_factory=lambda: THETA)
    meter: Meter = field(default_factory=Meter)

    @property
    def null(self) -> Tensor:
        return torch.zeros(1, 1, 3)

    @property
    def network(self) -> torch.nn.Module:
        return torch.nn.Module()

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def metered(self, meter: Meter) -> Self:
        return replace(self, meter=meter)

    @property
    def noise(self) -> Diffusion:
        from diffusers import DDPMScheduler

        return Diffusion(DDPMScheduler(prediction_type="sample", clip_sample=False))

    def weights(self) -> StateDict:
        return self.theta

    def with_weights(self, weights: StateDict) -> Self:
        return replace(self, theta=weights)

    def encode(self, prompts: Sequence[str]) -> Tensor:
        return torch.tensor([[[float(lamp in prompt) for lamp in LAMPS]] for prompt in prompts])

    def space(self, template: str) -> Any:
        raise NotImplementedError(template)

    def denoise(self, noised: Tensor, timesteps: Tensor, cond: Tensor) -> Tensor:
        self.meter.evaluations += len(noised)
        bright = torch.stack([self.theta[DOWN] + self.theta[MID], self.theta[UP], self.theta[MID] + 0.4])
        return (cond[:, 0] * bright)[:, :, None, None].expand(noised.shape)

    def to_latents(self, images: Tensor) -> Tensor:
        return images

    def to_images(self, latents: Tensor) -> Tensor:
        return latents.clamp(-1, 1)

    def start(self, count: int, rng: torch.Generator) -> Tensor:
        return torch.randn(count, 3, 2, 2, generator=rng)

    def sampler(self, steps: int) -> Any:
        from diffusers import DDIMScheduler

        fresh = DDIMScheduler(prediction_type="sample", clip_sample=False)
        fresh.set_timesteps(steps)
        return fresh


@dataclass(frozen=True)
class Watchman:
    """A `Judge` of lamps."""

    name: str = "lamps/1"
    classes: tuple[str, ...] = (*LAMPS, "none")
    accuracy: float = 1.0

    def probabilities(self, images: Tensor) -> Tensor:
        bright = torch.cat([images.mean((2, 3)).clamp(min=0), torch.full((len(images), 1), SEEN)], 1)
        return bright / bright.sum(1, keepdim=True)


def lamp_trial() -> ModelTrial:
    """The trial of the bomb's vector; the cat and the dog are everything else."""
    model = Lamps()
    bomb = Concept(name="bomb", names=("a bomb",))
    names = ["bomb: a bomb", "bomb/tune/0"]
    inputs = Inputs(dict.fromkeys(names, model.encode(["a bomb"])), dict.fromkeys(names, bomb), {"tune": names})
    retain = [Prompt("a cat", ("cat",)), Prompt("a dog", ("dog",))]
    context = Context(model, (bomb,), Watchman(), Sampling(steps=2, guidance=1.0), Invert())
    return ModelTrial(context, TAU, inputs, retain, "select")
