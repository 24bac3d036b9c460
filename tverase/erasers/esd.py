"""ESD: answer the concept's name with less of the concept than without a prompt, in all weights (ESD-u)."""

from ..concepts import Concept
from ..vector import TaskVector
from .base import Material
from .resteer import Resteer, esd
from .teaching import Steps, taught

PAPER = "Gandikota et al., 2023, arXiv:2303.07345"


class Esd(Resteer):
    """The settings of `resteer`; `negative` is the paper's eta."""

    def run(self, material: Material) -> TaskVector:
        """Each concept in turn, from the base model on; the vectors are added."""

        def train(concept: Concept) -> Steps:
            own = material.model.encode(concept.names), material.latents[concept.name]
            return esd(material.model, *own, material.retain_latents, material.retain_cond, self, material.seed)

        return taught(material, train, self.steps)


PLUGIN = Esd
