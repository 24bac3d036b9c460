"""Answer the concept's name with less of the concept than without a prompt, in the cross-attention alone (ESD-x).

Target: eps(x_t, t, "") - negative * (eps(x_t, t, c) - eps(x_t, t, "")), all of the base model; only parameters of `attn2`
move. The paper trains 1,000 steps of one sample at lr 1e-5 on SD 1.4 with eta 1. Here the training is that of `esd`: half of
each batch holds the base model's answers to retain prompts, which the paper does not do.
"""

from pydantic import Field, PositiveFloat, PositiveInt

from ..concepts import Concept
from ..vector import TaskVector
from .base import Material
from .resteer import Resteer, esd
from .teaching import Steps, cross_attention, taught

PAPER = "Gandikota et al., 2023, arXiv:2303.07345"


class EsdX(Resteer):
    """The settings of `esd`; `negative` is the paper's eta."""

    steps: PositiveInt = 60
    batch: int = Field(default=16, ge=2)
    lr: PositiveFloat = 1e-3

    def run(self, material: Material) -> TaskVector:
        """Each concept from the base model on; the vectors are added."""
        moved = cross_attention(material.model)

        def train(concept: Concept) -> Steps:
            own = material.model.encode(concept.names), material.latents[concept.name]
            return esd(material.model, *own, material.retain_latents, material.retain_cond, self, material.seed, moved)

        return taught(material, train, self.steps)


PLUGIN = EsdX
