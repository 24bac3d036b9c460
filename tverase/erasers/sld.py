"""SLD: safe latent diffusion moves the guidance away from the concept wherever the prompt comes near it.

    eps(z) + g * (eps(z, p) - eps(z) - gamma),   gamma = mu * (eps(z, s) - eps(z)) + s_m * nu
    mu = min(1, scale * |eps(z, p) - eps(z, s)|) where eps(z, p) - eps(z, s) < threshold, and 0 elsewhere
    nu' = beta * nu + (1 - beta) * gamma;   gamma = 0 in the first `warmup` of the steps, in which nu grows already

Defaults: the paper's strong setting, warm-up 7 of 50 steps, scale 2000, threshold 0.025, s_m 0.5, beta 0.7. The maximum setting
is warmup 0, scale 5000, threshold 1. The paper prints max(1, ...); the authors' code takes the minimum. Scaled here: the
warm-up is a share of the timesteps, so that few steps have one as well; differences of v, of a sample or of a velocity are
taken in units of the noise; s is the concept's first name, and several concepts add their gammas.

The guard answers a prompt p with eps(z, p) - gamma, in calls of guidance and in calls without. So a gradient attack learns through
it. nu belongs to a trajectory: it is 0 at the first step, and in every call that is not the next step of the same trajectory.
"""

from dataclasses import dataclass, field

import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from ..models.base import Model
from ..settings import Settings
from .base import Material
from .guarding import Guarded, Track, behind, to_epsilon, with_each

PAPER = "Schramowski et al., 2023, arXiv:2211.05105"


class Sld(Settings):
    """The strong setting."""

    warmup: float = Field(default=0.14, ge=0, le=1)
    scale: NonNegativeFloat = 2000.0
    threshold: float = 0.025
    momentum: NonNegativeFloat = 0.5
    beta: float = Field(default=0.7, ge=0, le=1)

    def run(self, material: Material) -> "Safe":
        """The guard with the concepts' first names."""
        return Safe(tuple(material.names(concept) for concept in material.concepts), self)


PLUGIN = Sld


@dataclass(frozen=True)
class Safe:
    """The conditionings (1, ...) of the concepts' names, and how far guidance moves away from them."""

    names: tuple[Tensor, ...]
    settings: Sld

    def guarded(self, model: Model, strength: float = 1.0) -> Model:
        """The same model with `strength` times gamma."""
        return behind(model, Moved(self.names, self.settings, strength)) if strength else model


@dataclass(frozen=True)
class Moved:
    """The rule of a strength; `track` holds nu."""

    names: tuple[Tensor, ...]
    settings: Sld
    strength: float
    track: Track = field(default_factory=Track)

    def __call__(self, model: Guarded, noised: Tensor, timesteps: Tensor, cond: Tensor) -> Tensor:
        """The model's own answer to the empty caption, and less of the concept for everything else."""
        paired = model.halves(noised, timesteps, cond)
        answer, half = model.model.denoise(noised, timesteps, cond), len(cond) // 2 if paired else 0
        asked = torch.ones(len(cond), dtype=torch.bool) if paired else ~model.empty(cond).cpu()
        rows = (asked & (torch.arange(len(cond)) >= half)).nonzero().flatten().to(cond.device)
        if not len(rows):
            return answer
        given = (noised[rows], timesteps[rows])
        with torch.no_grad():
            others = self.names if paired else (model.null, *self.names)
            names = with_each(model.model, *given, others)
        without = answer[:half].detach() if paired else names.pop(0)
        gamma = self.gamma(model, *given[1:], cond[rows], answer[rows], without, names)
        return answer.index_add(0, rows, -self.strength * gamma)

    def gamma(
        self, model: Guarded, timesteps: Tensor, cond: Tensor, prompted: Tensor, without: Tensor, names: list[Tensor]
    ) -> Tensor:
        """What is taken from the answers `prompted` (B, ...); 0 during the warm-up."""
        how, unit = self.settings, to_epsilon(model.noise, timesteps, prompted)
        found = torch.zeros_like(prompted)
        for name in names:
            gap = unit * (prompted - name)
            share = (how.scale * gap.abs()).clamp(max=1)
            found = found + torch.where(gap < how.threshold, share, 0) * (name - without)
        before = self.track.recall(model.model, timesteps, cond)
        if before is not None:
            found = found + how.momentum * before / unit
        grown = (1 - how.beta) * found.detach() * unit + (0 if before is None else how.beta * before)
        self.track.keep(model.model, timesteps, cond, grown)
        acts = timesteps <= (1 - how.warmup) * model.noise.timesteps
        return torch.where(acts.view(-1, *[1] * (found.dim() - 1)), found, 0)
