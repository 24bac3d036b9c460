"""Answer the concept's name as a prompt of the retain set, and leave all other inputs as they are.

The input-dependent baseline of Pham et al. (2024, section 3). `esd`, in esd.py, shares the training: it teaches the denoiser
to answer with less of the concept than without a prompt. Both end with edited weights; the vector that leads from them back
to the base erases at strength 1.
"""

from collections.abc import Callable

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from ..concepts import Concept
from ..models.base import Model, repeated
from ..settings import Settings
from ..vector import TaskVector
from .base import Material
from .teaching import Steps, everything, noised, taught, trained

PAPER = "Pham et al., 2024, arXiv:2404.03631"
Target = Callable[[Tensor, Tensor, Tensor], Tensor]  # (noised, timesteps, concept's cond) -> what to answer


class Resteer(Settings):
    """How long the concept's conditioning is taught another answer."""

    steps: PositiveInt = 180
    batch: int = Field(default=32, ge=2)  # half of it learns, half is held
    lr: PositiveFloat = 2e-4
    negative: PositiveFloat = 1.0  # esd: how far beyond the unconditional answer

    def run(self, material: Material) -> TaskVector:
        """The name of each concept is taught what the first prompt of the retain set draws."""
        model, held = material.model, material.retain_cond

        def train(concept: Concept) -> Steps:
            own = material.names(concept)
            return resteer(model, own, held[:1], material.retain_latents, held, self, material.seed)

        return taught(material, train, self.steps)


PLUGIN = Resteer


def resteer(
    model: Model, cond: Tensor, other: Tensor, latents: Tensor, keep: Tensor, settings: Resteer, seed: int
) -> Steps:
    """Yields (loss, edited weights so far). cond, other (1, ...): the concept's and the new conditioning; keep (M, ...): held.

    latents (N, ...) of anything the model draws.
    """

    def target(noised: Tensor, timesteps: Tensor, _: Tensor) -> Tensor:
        return model.denoise(noised, timesteps, repeated(other, len(noised)))

    yield from _teach(model, cond, target, latents, keep, settings, seed, "resteer", everything)


def esd(
    model: Model,
    cond: Tensor,
    latents: Tensor,
    keep: Tensor,
    settings: Resteer,
    seed: int,
    moved: Callable[[str], bool] = everything,
) -> Steps:
    """The same with ESD's target: the unconditional answer less `negative` times what the concept adds to it.

    moved: the parameters that are trained, by name.
    """

    def target(noised: Tensor, timesteps: Tensor, concept: Tensor) -> Tensor:
        null = repeated(model.null, len(noised))
        without = model.denoise(noised, timesteps, null)
        return without - settings.negative * (model.denoise(noised, timesteps, concept) - without)

    yield from _teach(model, cond, target, latents, keep, settings, seed, "esd", moved)


def _teach(
    model: Model,
    cond: Tensor,
    target: Target,
    latents: Tensor,
    keep: Tensor,
    settings: Resteer,
    seed: int,
    name: str,
    moved: Callable[[str], bool],
) -> Steps:
    """Half of each batch learns the target under `cond`; the other half holds the base model's answer under `keep`."""
    half = settings.batch // 2

    def loss(student: Model, rng: torch.Generator) -> Tensor:
        noisy, timesteps, _ = noised(model, latents, 2 * half, rng)
        kept_by = keep[torch.randint(len(keep), (half,), generator=rng)]
        concept = repeated(cond, half)
        with torch.no_grad():
            learned = target(noisy[:half], timesteps[:half], concept)
            kept = model.denoise(noisy[half:], timesteps[half:], kept_by)
        answer = student.denoise(noisy, timesteps, torch.cat([concept, kept_by]))
        return (answer - torch.cat([learned, kept])).square().mean()

    yield from trained(model, loss, settings, seed, name, moved=moved)
