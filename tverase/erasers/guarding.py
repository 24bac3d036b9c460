"""What guards at inference share: a model whose `denoise` is answered by a rule, and how the calls of guidance are recognised."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor

from ..models.base import Model, repeated
from ..models.wrapped import Wrapped
from ..noise import NoiseProcess

CLOSE = 1e-5  # within which a conditioning is the empty caption's


class Rule(Protocol):
    """How a guard answers in place of the denoiser."""

    def __call__(self, model: "Guarded", noised: Tensor, timesteps: Tensor, cond: Tensor) -> Tensor:
        """The prediction for `cond` (B, ...), differentiable in it. `model.model` is the model without the guard."""
        ...


@dataclass(frozen=True)
class Guarded(Wrapped):
    """A model behind a guard; a `Model`, so that everything that draws or attacks takes it.

    Words, spaces and weights are the model's own: an attacker says what he likes, and the guard answers in `denoise`.
    """

    rule: Rule

    def denoise(self, noised: Tensor, timesteps: Tensor, cond: Tensor) -> Tensor:
        """The guard's answer; counts every evaluation that it takes."""
        return self.rule(self, noised, timesteps, cond)

    def empty(self, cond: Tensor) -> Tensor:
        """Which rows of `cond` are the empty caption: bool (B,)."""
        near = (cond.detach() - self.null.to(cond)).abs() <= CLOSE
        return near.flatten(1).all(1)

    def halves(self, noised: Tensor, timesteps: Tensor, cond: Tensor) -> bool:
        """Whether this is a call of guidance: the same noised latents twice, first with the empty caption, then with prompts."""
        if len(cond) < 2 or len(cond) % 2:
            return False
        (first, second), (early, late) = noised.detach().chunk(2), timesteps.chunk(2)
        blank = self.empty(cond[: len(cond) // 2]).all()
        return bool(blank) and torch.equal(early, late) and torch.equal(first, second)


def behind(model: Model, rule: Rule) -> Model:
    """The model behind a rule."""
    return cast(Model, Guarded(model, rule))


def with_each(model: Model, noised: Tensor, timesteps: Tensor, conds: Sequence[Tensor]) -> list[Tensor]:
    """The denoiser's answers (B, ...) under each conditioning (1, ...), in one call."""
    count = len(conds)
    rows = torch.cat([repeated(cond, len(noised)) for cond in conds])
    many = (noised.repeat(count, *[1] * (noised.dim() - 1)), timesteps.repeat(count))
    return list(model.denoise(*many, rows).chunk(count))


def to_epsilon(process: NoiseProcess, timesteps: Tensor, like: Tensor) -> Tensor:
    """The factor (B, 1, ...) from a difference of the denoiser's answers to that of the noise that they mean.

    At a fixed noised sample z = a x + b n, the answer c x + d n changes by (a d - b c) / a for each unit of n.
    """
    whole = timesteps.round().long()  # some samplers count in fractions
    ones, zeros = torch.ones(len(timesteps), 1, device=like.device), torch.zeros(len(timesteps), 1, device=like.device)
    (a, b), (c, d) = ((of(ones, whole, zeros), of(zeros, whole, ones)) for of in (process.corrupt, process.target))
    return (a / (a * d - b * c)).to(like).view(-1, *[1] * (like.dim() - 1))


class Track(threading.local):
    """A value that belongs to one trajectory, in each thread its own.

    It is forgotten unless the next call is the next step: the same model and conditionings, at one lower timestep for all rows.
    """

    def __init__(self) -> None:
        self.kept: tuple[Model, Tensor, float, Tensor] | None = None

    def recall(self, model: Model, timesteps: Tensor, cond: Tensor) -> Tensor | None:
        """The value of the step before, or None at the first step of a trajectory and outside of one."""
        kept, step = self.kept, _one(timesteps)
        if kept is None or step is None or kept[0] is not model or step >= kept[2]:
            return None
        same = kept[1].shape == cond.shape and torch.equal(kept[1], cond.detach())
        return kept[3] if same and not cond.requires_grad else None

    def keep(self, model: Model, timesteps: Tensor, cond: Tensor, value: Tensor) -> None:
        """For the next step."""
        step = _one(timesteps)
        self.kept = None if step is None or cond.requires_grad else (model, cond.detach(), step, value.detach())


def _one(timesteps: Tensor) -> float | None:
    first = float(timesteps[0])
    return first if bool((timesteps == first).all()) else None
