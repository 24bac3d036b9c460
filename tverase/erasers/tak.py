"""The task vector of a fine-tuning that is penalised by its curvature on the retain set (TAK).

L + weight * sum over layers of tr(B dW A dW^T), with dW = theta - theta_0 and Kronecker factors A and B of the retain set's
curvature (tverase/erasers/curvature.py). Images of the concept have the empty caption, retain images their own.

The paper fine-tunes CLIP with factors from 128 to 256 samples, and finds that blocks of a factor suffice. Here blocks are of input
channels, norms are not penalised, and the fine-tuning is the ordinary one.
"""

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from ..training import Training
from ..vector import TaskVector
from ..vectors.activations import Samples
from .base import Material
from .curvature import curvature
from .tuning import Batch, Tuned, tuned

PAPER = "TAK, 2026, arXiv:2602.17385"


class Tak(Tuned):
    """The settings of `task-vector`, and those of the penalty."""

    samples: PositiveInt = 128  # of the retain set
    draws: PositiveInt = 1  # of labels, for each sample
    weight: NonNegativeFloat = 1.0

    def run(self, material: Material) -> TaskVector:
        """One fine-tune on the images of all concepts."""
        model, base = material.model, material.model.weights()
        retain = Samples(material.retain_latents[: self.samples], material.retain_cond[: self.samples])
        curved = curvature(model, retain, self.draws, material.seed) if self.weight else []

        def loss(training: Training, batch: Batch, rng: torch.Generator) -> Tensor:
            answer = model.with_weights(training.parameters).denoise(batch.latents, batch.timesteps, batch.cond)
            fitted = batch.loss(answer)
            if not curved:
                return fitted
            change = {name: p - base[name] for name, p in training.parameters.items()}
            return fitted + self.weight * torch.stack([one.penalty(change) for one in curved]).sum()

        return tuned(material, self, loss)


PLUGIN = Tak
