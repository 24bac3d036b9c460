"""Guards in front of the model: changes of a conditioning before the denoiser receives it.

They are optional and reported apart, because people with the weights can remove them. Attacks optimise conditionings that no
prompt produces, and each guard removes a part of that difference. Attacks know the guard and pass gradients through it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from .errors import ConfigError, unknown
from .models.wrapped import Wrapped

Defence = Callable[[Tensor], Tensor]  # conditionings (B, T, D) -> what the denoiser gets for them
CHOICES = ("nearest", "rounded-LEVELS", "smoothed-SHARE")  # in `evaluate.defences`: `rounded-4`, `smoothed-0.4`


@dataclass(frozen=True)
class Rounded:
    """Every number of a conditioning on one of a few values (feature squeezing, Xu et al., 2018, arXiv:1704.01155).

    low, high (D,): the range of known good prompts. The values lie evenly between them; others are clipped.
    """

    low: Tensor
    high: Tensor
    levels: int

    @classmethod
    def of(cls, known: Tensor, levels: int) -> Self:
        """With the range that the conditionings `known` (M, T, D) have in each of the D numbers."""
        if levels < 2:
            raise ConfigError(f"rounding needs at least 2 levels, not {levels}.")
        flat = known.flatten(0, -2)
        return cls(flat.amin(0), flat.amax(0), levels)

    def __call__(self, cond: Tensor) -> Tensor:
        """The nearest of the levels."""
        width = (self.high - self.low).clamp(min=1e-12)
        steps = ((cond - self.low) / width).clamp(0, 1) * (self.levels - 1)
        return self.low + steps.round() / (self.levels - 1) * width


@dataclass(frozen=True)
class Nearest:
    """Every state replaced by the nearest one that a known prompt has in the same place; a packed row is one place.

    No other state can be expressed, so the result depends on the choice of known prompts.
    """

    known: Tensor  # (M, T, D)

    def __call__(self, cond: Tensor) -> Tensor:
        """The nearest known states."""
        by_place, known = (rows.view(len(rows), -1, rows.shape[-1]) for rows in (cond, self.known))
        places = [
            states[torch.cdist(given, states).argmin(1)]
            for given, states in zip(by_place.unbind(1), known.unbind(1), strict=True)
        ]
        return torch.stack(places, 1).view(cond.shape)


@dataclass(frozen=True)
class Smoothed:
    """Every state moved towards the mean of the known ones. States far from all of them change most.

    share: of the way, between 0 (nothing happens) and 1 (all inputs are the mean).
    """

    known: Tensor  # (M, T, D)
    share: float

    def __call__(self, cond: Tensor) -> Tensor:
        """Part of the way to the mean."""
        return torch.lerp(cond, self.known.mean(0).expand_as(cond), self.share)


def named(name: str) -> Callable[[Tensor], Defence]:
    """`rounded-4` -> what makes this defence of the conditionings (M, T, D) of known prompts; raises ConfigError."""
    kind, _, number = name.partition("-")
    if name == "nearest":
        return Nearest
    if kind == "rounded" and re.fullmatch(r"[1-9]\d*", number) and (levels := int(number)) >= 2:
        return lambda known: Rounded.of(known, levels)
    if kind == "smoothed" and re.fullmatch(r"0\.\d*[1-9]|1", number):
        return lambda known: Smoothed(known, float(number))
    hint = "LEVELS is a whole number from 2 on, SHARE a number above 0 and at most 1, as 0.4."
    raise ConfigError(f"{unknown('defence', name, CHOICES)}. {hint}")


@dataclass(frozen=True)
class Defended(Wrapped):
    """A model behind a defence; a `Model`, so that everything that examines models examines this one.

    The empty caption does not change, because the service itself uses it for guidance.
    """

    defence: Defence

    def denoise(self, noised: Tensor, timesteps: Tensor, cond: Tensor) -> Tensor:
        """The prediction for the guarded `cond`. Gradients pass as if the guard were the identity.

        Rounding has no gradient, and an attack that stops there would prove nothing (BPDA, Athalye et al., 2018,
        arXiv:1802.00420).
        """
        with torch.no_grad():
            empty = (cond == self.null.to(cond.device)).flatten(1).all(1).view(-1, *[1] * (cond.dim() - 1))
            left = torch.where(empty, cond, self.defence(cond))
        heard = cond + (left - cond).detach() if cond.requires_grad else left
        return self.model.denoise(noised, timesteps, heard)
