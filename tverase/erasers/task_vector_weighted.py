"""The task vector, weighted by activations: it keeps its effect on the forget set and loses it on the retain set.

Each layer's change dW becomes dW A_f (A_f + lambda A_r + (1/n) I)^-1, with the second moments A_f and A_r of the layer's
inputs (tverase/vectors/activations.py); the whole is scaled so that strength 1 changes the prediction as tau does. The closed form is
that of RegMean. It is the main job up to hardening, with the same bytes for the same seed.
"""

from pydantic import NonNegativeFloat

from ..build import forget_samples, retain_samples
from ..vector import TaskVector
from ..vectors.activations import weighted
from .base import Material
from .task_vector import PlainTaskVector

PAPER = "Jin et al., 2023, arXiv:2212.09849"


class WeightedTaskVector(PlainTaskVector):
    """The settings of `finetune`, and the weight of the retain set's activations."""

    retain_weight: NonNegativeFloat = 3.0

    def run(self, material: Material) -> TaskVector:
        """The vector of all concepts, weighted as one."""
        model, seed = material.model, material.seed
        vector = super().run(material)
        pairs = [(material.latents[c.name], model.encode([*c.names, *c.tuning])) for c in material.concepts]
        forget = forget_samples(model, pairs, seed)
        retain = retain_samples(model, material.retain_latents, material.retain_cond, seed)
        return weighted(model, vector, forget, retain, self.retain_weight, seed, material.tell)


PLUGIN = WeightedTaskVector
