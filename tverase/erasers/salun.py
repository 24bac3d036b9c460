"""Relabel the concept's images at random, in the weights that matter most to them (a saliency mask).

Mask: 1 where |d L_f / d theta| at theta_0 is at least its median over all weights, L_f the denoising loss on images of the
concept with its names. Masked training: E ||eps(x_t, t, c) - sg eps_0(x_t, t, c')||^2 + weight * L_r, with images x of the
concept and a random other caption c' for each. L_r holds the base model's answers on the retain set; in the paper it is the
denoising loss there.

The paper trains five epochs over 800 images of each set at lr 1e-5 on SD 1.4, with half of the weights. For "nudity" c' is one
fixed anchor: here the prompt `anchor`.
"""

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from ..concepts import Concept
from ..models.base import Model
from ..rng import generator, pick
from ..settings import Settings
from ..vector import StateDict, TaskVector
from .base import Material
from .teaching import Steps, denoising, held, noised, taught, trained

PAPER = "Fan et al., 2024, arXiv:2310.12508"


class SalUn(Settings):
    """How much is masked, and how long the names are relabelled."""

    steps: PositiveInt = 60
    batch: int = Field(default=16, ge=2)  # half of it learns, half is held
    lr: PositiveFloat = 2e-4
    share: float = Field(default=0.5, gt=0, le=1)  # of the weights that are trained
    batches: PositiveInt = 4  # for the gradient of the mask
    anchor: str = ""  # a prompt; empty: random captions of the retain set
    retain_weight: NonNegativeFloat = 1.0

    def run(self, material: Material) -> TaskVector:
        """Each concept from the base model on; the vectors are added."""
        model, half = material.model, self.batch // 2

        def train(concept: Concept) -> Steps:
            purpose = f"salun/{concept.slug}"
            names, latents = model.encode(concept.names), material.latents[concept.name]
            labels = model.encode([self.anchor]) if self.anchor else material.retain_cond

            def loss(student: Model, rng: torch.Generator) -> Tensor:
                x, timesteps, _ = noised(model, latents, half, rng)
                with torch.no_grad():
                    wanted = model.denoise(x, timesteps, labels[pick(half, len(labels), rng)])
                answer = student.denoise(x, timesteps, names[pick(half, len(names), rng)])
                return (answer - wanted).square().mean() + self.retain_weight * held(material, student, half, rng)

            masks = self.masks(material, concept)
            return trained(model, loss, self, material.seed, purpose, masks=masks)

        return taught(material, train, self.steps)

    def masks(self, material: Material, concept: Concept) -> StateDict:
        """1 for the `share` of all weights with the largest gradients of the concept's denoising loss, else 0."""
        model, rng = material.model, generator(material.seed, f"salun/{concept.slug}/mask")
        weights = {name: weight.detach().clone().requires_grad_() for name, weight in model.weights().items()}
        names, latents = model.encode(concept.names), material.latents[concept.name]
        for _ in range(self.batches):
            captions = names[pick(self.batch, len(names), rng)]
            torch.autograd.backward(denoising(model.with_weights(weights), latents, captions, rng))
        sizes = {n: torch.zeros_like(w) if w.grad is None else w.grad.abs() for n, w in weights.items()}
        return largest(sizes, self.share)


PLUGIN = SalUn


def largest(sizes: StateDict, share: float) -> dict[str, Tensor]:
    """1 for the `share` of all entries that are largest, else 0; equal entries are taken in their order."""
    flat = torch.cat([size.flatten() for size in sizes.values()])
    chosen = torch.zeros_like(flat)
    chosen[flat.argsort(descending=True, stable=True)[: max(1, round(share * len(flat)))]] = 1.0
    parts = torch.split(chosen, [size.numel() for size in sizes.values()])
    return {name: part.view_as(size) for (name, size), part in zip(sizes.items(), parts, strict=True)}
