"""The contract of erasers: a model and its concepts in, a vector out that erases at strength 1."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ..concepts import Concept
from ..models.base import Conditioning, Model
from ..progress import Tell, silent
from ..vector import TaskVector


@dataclass(frozen=True)
class Material:
    """The data of an eraser. None of it chooses a strength or is scored.

    latents: images of each concept, (N, ...) by the concept's name.
    retain_latents (M, ...), retain_cond (M, ...): images of the tuning half of the retain set. Conditioning i drew row i.
    """

    model: Model
    concepts: Sequence[Concept]
    latents: Mapping[str, Tensor]
    retain_latents: Tensor
    retain_cond: Conditioning
    seed: int
    tell: Tell = silent

    def names(self, concept: Concept) -> Conditioning:
        """The conditioning of the concept's first name (1, ...)."""
        return self.model.encode([concept.names[0]])


class Guard(Protocol):
    """A change of the text encoder, of the sampler or in front of the denoiser. It is no part of the denoiser's weights."""

    def guarded(self, model: Model, strength: float = 1.0) -> Model:
        """The same model behind the guard. At strength 1 the method is applied as published, at 0 it changes nothing."""
        ...


class Eraser(Protocol):
    """A `Settings` class whose fields are the method's settings."""

    def run(self, material: Material) -> TaskVector | Guard:
        """The vector for theta_0 - alpha * vector, or a guard; at alpha = 1 the method is applied as published."""
        ...


def erased(model: Model, by: TaskVector | Guard, alpha: float = 1.0) -> Model:
    """The model after the eraser's edit, or behind its guard, at a strength."""
    if isinstance(by, TaskVector):
        return model.with_weights(by.apply(model.weights(), alpha, check=False))
    return by.guarded(model, alpha)
