"""Negative prompt: guidance leads away from the concept's name in place of the empty caption.

    eps(z, negative) + g * (eps(z, prompt) - eps(z, negative))

A feature of samplers, measured as a defence by Schramowski et al. Several concepts: the mean of their predictions. Nothing is
scaled. At a strength the unconditional prediction is on the way from the empty caption's to the negative one. Without guidance
there is nothing to replace: a call with prompts alone, as in the loss of a gradient attack, is the model's own, and so are
images that are drawn with guidance 0 or 1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.base import Model
from ..settings import Settings
from .base import Material
from .guarding import Guarded, behind, with_each

PAPER = "Schramowski et al., 2023, arXiv:2211.05105"


class NegativePrompt(Settings):
    """It has no settings: the strength is the guard's."""

    def run(self, material: Material) -> "Negative":
        """The guard with the concepts' first names."""
        return Negative(tuple(material.names(concept) for concept in material.concepts))


PLUGIN = NegativePrompt


@dataclass(frozen=True)
class Negative:
    """The conditionings (1, ...) of the negative prompts."""

    names: tuple[Tensor, ...]

    def guarded(self, model: Model, strength: float = 1.0) -> Model:
        """The same model with another unconditional prediction in calls of guidance."""
        return behind(model, Away(self.names, strength)) if strength else model


@dataclass(frozen=True)
class Away:
    """The rule of a strength."""

    names: tuple[Tensor, ...]
    strength: float

    def __call__(self, model: Guarded, noised: Tensor, timesteps: Tensor, cond: Tensor) -> Tensor:
        """The model's own answer; in calls of guidance the first half leads away from the names."""
        answer = model.model.denoise(noised, timesteps, cond)
        if not model.halves(noised, timesteps, cond):
            return answer
        without, prompted = answer.chunk(2)
        half = len(without)
        names = with_each(model.model, noised[:half], timesteps[:half], self.names)
        negative = torch.stack(names).mean(0)
        return torch.cat([torch.lerp(without, negative, self.strength), prompted])
