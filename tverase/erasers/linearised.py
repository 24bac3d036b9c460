"""The task vector of linearised fine-tuning: the ordinary loss on the tangent model (a tangent task vector).

Trained is f_lin(x; theta) = f(x; theta_0) + J(x; theta_0) (theta - theta_0); tau = theta - theta_0 edits the ordinary denoiser
afterwards. The paper trains CLIP at lr 1e-5, at two to three times the cost of a step. Here are half the steps of
`task-vector` at twice its rate.
"""

import torch
from torch import Tensor

from ..training import Training
from ..vector import TaskVector
from .base import Material
from .tangent import Tangent
from .tuning import Batch, Tuned, tuned

PAPER = "Ortiz-Jimenez et al., 2023, arXiv:2305.12827"


class Linearised(Tuned):
    """The settings of `task-vector`."""

    def run(self, material: Material) -> TaskVector:
        """One fine-tune of the tangent model on the images of all concepts."""

        def loss(training: Training, batch: Batch, rng: torch.Generator) -> Tensor:
            tangent = Tangent(material.model, training.parameters)
            answer, _ = tangent.denoise(batch.latents, batch.timesteps, batch.cond)
            return batch.loss(answer)

        return tuned(material, self, loss)


PLUGIN = Linearised
