"""Raise the denoising loss on images of the concept with its names as captions, in all weights.

theta <- theta + lr * grad E ||eps(x_t, t, c) - eps||^2 on images x of the concept. "When Are Concepts Erased From Diffusion
Models?" trains so on ten images and finds the most robust and the most harmful of its methods. Nothing holds the retain set,
and the loss has no upper bound: the number of steps and the rate decide what is left of the model.

The paper's scripts take six steps on SD 1.4; so does this, with AdamW.
"""

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from ..concepts import Concept
from ..models.base import Model
from ..rng import pick
from ..settings import Settings
from ..vector import TaskVector
from .base import Material
from .teaching import Steps, denoising, taught, trained

PAPER = "Lu et al., 2025, arXiv:2505.17013"


class GradientAscent(Settings):
    """How far the loss is raised."""

    steps: PositiveInt = 6
    batch: PositiveInt = 16
    lr: PositiveFloat = 1e-4

    def run(self, material: Material) -> TaskVector:
        """Each concept from the base model on; the vectors are added."""

        def train(concept: Concept) -> Steps:
            names, latents = material.model.encode(concept.names), material.latents[concept.name]

            def loss(student: Model, rng: torch.Generator) -> Tensor:
                captions = names[pick(self.batch, len(names), rng)]
                return -denoising(student, latents, captions, rng)

            purpose = f"gradient-ascent/{concept.slug}"
            return trained(material.model, loss, self, material.seed, purpose)

        return taught(material, train, self.steps)


PLUGIN = GradientAscent
