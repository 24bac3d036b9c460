"""Answer the concept's names as an anchor concept, in the keys and values of the cross-attention.

L = E ||eps(x_t, t, c) - sg eps(x_t, t, a)||^2 + weight * E ||eps(x_t, t, r) - sg eps_0(x_t, t, r)||^2 with the anchor a and
images x that the base model draws of the anchor: the paper's model-based variant with the weights of its cross-attention
variant. Its second term is the denoising loss on the anchor's images; here it holds the base model's answers on the retain set.
The target is the base model's answer, the same at the optimum.

The paper takes an anchor by hand (cat for Grumpy Cat), 200 prompts and 100 to 200 steps of 8 samples at lr 2e-6 times the
batch on SD 1.4. Here the anchor of each name is the most similar retain prompt, or the prompt `anchor`.
"""

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from ..concepts import Concept
from ..models.base import Model
from ..rng import generator
from ..sampling import Sampling, draw_latents
from ..settings import Settings
from ..vector import TaskVector
from .anchors import anchors
from .base import Material
from .teaching import Loss, Steps, cross_attention, held, noised, taught, trained

PAPER = "Kumari et al., 2023, arXiv:2303.13516"


class ConceptAblation(Settings):
    """How long the names are taught the anchor's answers."""

    steps: PositiveInt = 60
    batch: int = Field(default=16, ge=2)  # half of it learns, half is held
    lr: PositiveFloat = 1e-3
    anchor: str = ""  # a prompt; empty: the most similar prompt of the retain set
    images: PositiveInt = 64  # of the anchors, drawn by the base model
    retain_weight: NonNegativeFloat = 1.0
    sampling: Sampling = Sampling()

    def run(self, material: Material) -> TaskVector:
        """Each concept from the base model on; the vectors are added."""
        moved = cross_attention(material.model, "to_k", "to_v")

        def train(concept: Concept) -> Steps:
            purpose = f"concept-ablation/{concept.slug}"
            loss = self.loss(material, concept, purpose)
            return trained(material.model, loss, self, material.seed, purpose, moved=moved)

        return taught(material, train, self.steps)

    def loss(self, material: Material, concept: Concept, purpose: str) -> Loss:
        """Row i of the anchors' images was drawn by the anchor of name i, name by name over and over."""
        model, half = material.model, self.batch // 2
        names, others = model.encode(concept.names), anchors(material, concept, self.anchor)
        order = torch.arange(self.images) % len(names)
        images = draw_latents(model, others[order], generator(material.seed, f"{purpose}/images"), self.sampling)

        def loss(student: Model, rng: torch.Generator) -> Tensor:
            x, timesteps, which = noised(model, images, half, rng)
            with torch.no_grad():
                wanted = model.denoise(x, timesteps, others[order[which]])
            learned = (student.denoise(x, timesteps, names[order[which]]) - wanted).square().mean()
            return learned + self.retain_weight * held(material, student, half, rng)

        return loss


PLUGIN = ConceptAblation
