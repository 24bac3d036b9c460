"""Distillation with two teachers (Hinton et al., 2015, arXiv:1503.02531): one step of the student."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..losses import random_timesteps
from ..models.base import Conditioning, Model, repeated
from ..rng import generator
from ..training import Training, warm_average
from ..vector import StateDict, mixed
from .forget import ForgetRetain
from .settings import Harden

AVERAGE = 0.99  # limit of the decay of the running average of the weights


@dataclass
class Distillation:
    """A student that starts as the base model. `base` teaches the retain set, `edited` the forget set.

    found: inputs that attacks have found, (K, ...); they join the forget set.
    """

    base: Model
    edited: StateDict
    data: ForgetRetain
    settings: Harden
    training: Training
    seed: int
    found: Conditioning

    def student(self, share: float = 1.0) -> Model:
        """The model with a share of the average change so far."""
        return self._with(self.training.average, share)

    def step(self) -> float:
        """One step; the loss."""
        rng = generator(self.seed, f"harden/{self.training.step}")
        low, high = self.settings.taught
        share = low if low == high else low + (high - low) * float(torch.rand((), generator=rng))
        loss = self._loss(self._with(self.training.parameters, share), rng)
        return self.training.advance(loss, self.settings.lr, warm_average(self.training.step, AVERAGE))

    def _with(self, weights: StateDict, share: float) -> Model:
        return self.base.with_weights({**self.edited, **mixed(self.base.weights(), weights, share)})

    def _loss(self, student: Model, rng: torch.Generator) -> Tensor:
        """The distance to the base model on a retain batch, and to the edited model on a forget batch."""
        process, half = student.noise, self.settings.batch
        retain, forget = self._retain(rng), self._forget(rng)
        clean, cond = torch.cat([retain[0], forget[0]]), torch.cat([retain[1], forget[1]])
        timesteps = torch.cat([random_timesteps(half, process.timesteps, rng) for _ in range(2)]).to(clean.device)
        noise = torch.randn(clean.shape, generator=rng).to(clean.device)
        noised = process.corrupt(clean, timesteps, noise)
        with torch.no_grad():
            answers = torch.cat(
                [
                    self.base.denoise(noised[:half], timesteps[:half], cond[:half]),
                    self.base.with_weights(self.edited).denoise(noised[half:], timesteps[half:], cond[half:]),
                ]
            )
        errors = (student.denoise(noised, timesteps, cond) - answers).square().flatten(1).mean(1)
        errors = errors * process.weight(timesteps)
        return errors[:half].mean() + self.settings.forget_weight * errors[half:].mean()

    def _retain(self, rng: torch.Generator) -> tuple[Tensor, Conditioning]:
        """A batch of retain latents with their own conditionings, some of them with the empty caption."""
        latents = self.data.retain_latents
        which = torch.randint(len(latents), (self.settings.batch,), generator=rng)
        return latents[which], self._uncaptioned(self.data.retain_cond[which], rng)

    def _forget(self, rng: torch.Generator) -> tuple[Tensor, Conditioning]:
        """A batch of forget latents with inputs that ask for a concept, some of them with the empty caption."""
        latents, count = self.data.all_forget_latents, self.settings.batch
        which = torch.randint(len(latents), (count,), generator=rng)
        cond = self.data.forget_cond[torch.randint(len(self.data.forget_cond), (count,), generator=rng)]
        if len(self.found):
            found = self.found[torch.randint(len(self.found), (count,), generator=rng)]
            cond = _swapped(cond, found, self.settings.found_share, rng)
        return latents[which], self._uncaptioned(cond, rng)

    def _uncaptioned(self, cond: Conditioning, rng: torch.Generator) -> Conditioning:
        null = repeated(self.base.null, len(cond)).to(cond.device)
        return _swapped(cond, null, self.settings.uncaptioned, rng)


def _swapped(cond: Conditioning, other: Conditioning, share: float, rng: torch.Generator) -> Conditioning:
    """A share of the rows of `cond`, at random, replaced by those of `other`."""
    instead = torch.rand(len(cond), generator=rng) < share
    return torch.where(instead.to(cond.device).view(-1, *[1] * (cond.dim() - 1)), other, cond)
