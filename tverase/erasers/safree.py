"""SAFREE: tokens near the concept's subspace are projected out of the prompt in the first steps.

C is the subspace of the concept's prompts. A token is a trigger if the prompt without it is further from C than it is on average
without one of the others, by the factor 1 + alpha. Triggers p become P_I (I - P_C) p, where P_I projects onto the span of the
prompt's own tokens. The change acts on the first t' of the steps only:

    t' = upper * sigmoid(sharpness * (10 beta - centre)),   beta = 1 - cos(p, projected p)

so that a prompt without the concept stays as it is. Defaults of the authors' code: alpha 0.01, upper 10 of 50 steps, sharpness 5,
centre 5.333. Scaled here: t' is a share of the timesteps, and `upper` is 1; with the paper's share, 0.2, the embedded model draws
the concept in the steps that are left. The guard has the text encoder's states and no text. So what counts of a state is what
it adds to the empty caption's in the same place, and the sum of these additions stands for the pooled embedding, of the
concept's prompts as of a prompt without one token. Weaker than the paper: the attenuation of low frequencies inside the UNet
(latent re-attention) is left out.

It acts on every call. Gradients pass through the projection; which tokens are triggers, P_I and t' are constants to them.
"""

from dataclasses import dataclass

import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from ..models.base import Model
from ..settings import Settings
from .base import Material
from .cross_attention import SAME, Prompts, named, states
from .guarding import Guarded, behind

PAPER = "Yoon et al., 2024, arXiv:2410.12761"
RANK = 1e-4  # share of the largest singular value below which a direction is none


class Safree(Settings):
    """What a trigger is, and for how long it is projected."""

    alpha: NonNegativeFloat = 0.01
    upper: float = Field(default=1.0, ge=0, le=1)  # share of the timesteps, from the noise on
    sharpness: NonNegativeFloat = 5.0
    centre: float = 5.333
    prompts: Prompts = "tuning"

    def run(self, material: Material) -> "Filter":
        """The guard with the subspace of all concepts' prompts."""
        null = states(material.model.null)
        sums = [(states(named(material, concept, self.prompts)) - null).sum(1) for concept in material.concepts]
        return Filter(span(torch.cat(sums)[None])[0].to(material.model.null), self)


PLUGIN = Safree


@dataclass(frozen=True)
class Filter:
    """The concepts' directions, orthonormal rows (K, D), rows of zeros among them."""

    concept: Tensor
    settings: Safree

    def guarded(self, model: Model, strength: float = 1.0) -> Model:
        """The same model with triggers moved `strength` of the way to their projections."""
        states(model.null)
        return behind(model, Filtered(self.concept, self.settings, strength)) if strength else model


@dataclass(frozen=True)
class Filtered:
    """The rule of a strength."""

    concept: Tensor
    settings: Safree
    strength: float

    def __call__(self, model: Guarded, noised: Tensor, timesteps: Tensor, cond: Tensor) -> Tensor:
        """The answer to the filtered prompts. The empty caption adds nothing to itself, so that it stays."""
        added = cond - model.null.to(cond)
        safe = self.projected(added)
        with torch.no_grad():
            early = timesteps >= (1 - self.share(added, safe)) * model.noise.timesteps
        heard = torch.where(early[:, None, None], cond + self.strength * (safe - added), cond)
        return model.model.denoise(noised, timesteps, heard)

    def projected(self, added: Tensor) -> Tensor:
        """`added` (B, T, D) with P_I (I - P_C) p for every trigger p."""
        with torch.no_grad():
            triggers, inside = self.triggers(added), span(added)
        safe = without(added, self.concept)
        safe = safe @ inside.transpose(1, 2) @ inside
        return torch.where(triggers[..., None], safe, added)

    def triggers(self, added: Tensor) -> Tensor:
        """Which tokens are triggers: bool (B, T). A token that adds nothing is none, nor is a prompt's only token."""
        sizes = added.norm(dim=2)
        real = sizes > SAME * sizes.amax(1, keepdim=True)
        rest = added.sum(1, keepdim=True) - added
        far = without(rest, self.concept).norm(dim=2) / rest.norm(dim=2).clamp(min=1e-12) * real
        others = (far.sum(1, keepdim=True) - far) / (real.sum(1, keepdim=True) - 1).clamp(min=1)
        found: Tensor = real & (real.sum(1, keepdim=True) > 1) & (far > (1 + self.settings.alpha) * others)
        return found

    def share(self, added: Tensor, safe: Tensor) -> Tensor:
        """t' as a share of the timesteps (B,)."""
        how = self.settings
        beta = 1 - torch.cosine_similarity(added.flatten(1), safe.flatten(1), dim=1)
        return how.upper * torch.sigmoid(how.sharpness * (10 * beta - how.centre))


def without(vectors: Tensor, directions: Tensor) -> Tensor:
    """`vectors` (..., D) minus their parts along orthonormal rows (K, D)."""
    return vectors - vectors @ directions.T @ directions


def span(vectors: Tensor) -> Tensor:
    """Orthonormal rows that span the rows of each of `vectors` (B, T, D); zeros for the directions that these lack."""
    where = "cpu" if vectors.device.type == "mps" else vectors.device  # without float64
    _, sizes, directions = torch.linalg.svd(vectors.to(where, torch.float64), full_matrices=False)
    there = sizes > RANK * sizes.amax(1, keepdim=True).clamp(min=1e-12)
    found: Tensor = (directions * there[..., None]).to(vectors)
    return found
