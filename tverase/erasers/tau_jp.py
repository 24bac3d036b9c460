"""The task vector of linearised fine-tuning, with a penalty on what it changes on the retain set (tau-Jp).

L = L_lin + weight * mean_x ||J(x; theta_0) (theta - theta_0)||, with L_lin the denoising loss of the tangent model on images of
the concept with the empty caption, and x noised retain images with their captions. The norm is a root mean square over a
prediction's elements, so that the weight does not depend on the size of the images.

The paper trains CLIP with weight 0.1 and batches of 64 retain images. J times the change is exact, by torch.func.jvp.
"""

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from ..training import Training
from ..vector import TaskVector
from .base import Material
from .tangent import Tangent
from .teaching import Noised, noised
from .tuning import Batch, Tuned, tuned

PAPER = "Yoshida et al., 2025, ICLR 2025"


class TauJp(Tuned):
    """The settings of `linearised`, and those of the penalty."""

    retain_batch: PositiveInt = 16
    weight: NonNegativeFloat = 0.1

    def run(self, material: Material) -> TaskVector:
        """One fine-tune of the tangent model on the images of all concepts."""

        def loss(training: Training, batch: Batch, rng: torch.Generator) -> Tensor:
            return self.loss(material, Tangent(material.model, training.parameters), batch, rng)

        return tuned(material, self, loss)

    def loss(self, material: Material, tangent: Tangent, batch: Batch, rng: torch.Generator) -> Tensor:
        """Both terms, from one pass over both sets."""
        x, timesteps, which = noised(material.model, material.retain_latents, self.retain_batch, rng)
        both = Noised(torch.cat([batch.latents, x]), torch.cat([batch.timesteps, timesteps]), which)
        cond = torch.cat([batch.cond, material.retain_cond[which]])
        answer, change = tangent.denoise(both.latents, both.timesteps, cond)
        count = len(batch.latents)
        return batch.loss(answer[:count]) + self.weight * size(change[count:]).mean()


PLUGIN = TauJp


def size(change: Tensor) -> Tensor:
    """The root mean square of each row (B, ...): (B,); its gradient is zero where the row is zero."""
    flat = change.flatten(1)
    sizes: Tensor = torch.linalg.vector_norm(flat, dim=1) / flat.shape[1] ** 0.5
    return sizes
