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
from ..rng import pick
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
            own, latents = material.names(concept), material.retain_latents
            return resteer(model, own, held[:1], latents, latents, held, self, material.seed)

        return taught(material, train, self.steps)


PLUGIN = Resteer


def resteer(
    model: Model, cond: Tensor, other: Tensor, own: Tensor, latents: Tensor, keep: Tensor, settings: Resteer, seed: int
) -> Steps:
    """Yields (loss, edited weights so far). cond (K, ...), other (1, ...): the concept's conditionings and the new one.

    own (N, ...): latents on which the new answer is learned. latents, keep (M, ...): on which the old answers are held.
    """

    def target(noised: Tensor, timesteps: Tensor, _: Tensor) -> Tensor:
        return model.denoise(noised, timesteps, repeated(other, len(noised)))

    yield from _teach(model, cond, target, own, latents, keep, settings, seed, "resteer", everything)


def esd(
    model: Model,
    cond: Tensor,
    own: Tensor,
    latents: Tensor,
    keep: Tensor,
    settings: Resteer,
    seed: int,
    moved: Callable[[str], bool] = everything,
) -> Steps:
    """The same with ESD's target: the unconditional answer less `negative` times what the concept adds to it.

    The paper learns on what the model draws of the concept while it is trained; `own` are images of the base model's.
    moved: the parameters that are trained, by name.
    """

    def target(noised: Tensor, timesteps: Tensor, concept: Tensor) -> Tensor:
        null = repeated(model.null, len(noised))
        without = model.denoise(noised, timesteps, null)
        return without - settings.negative * (model.denoise(noised, timesteps, concept) - without)

    yield from _teach(model, cond, target, own, latents, keep, settings, seed, "esd", moved)


def _teach(
    model: Model,
    cond: Tensor,
    target: Target,
    own: Tensor,
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
        mine, others = noised(model, own, half, rng), noised(model, latents, half, rng)
        kept_by, concept = keep[pick(half, len(keep), rng)], cond[pick(half, len(cond), rng)]
        with torch.no_grad():
            learned = target(mine.latents, mine.timesteps, concept)
            kept = model.denoise(others.latents, others.timesteps, kept_by)
        noisy, timesteps = (torch.cat(pair) for pair in zip(mine[:2], others[:2], strict=True))
        answer = student.denoise(noisy, timesteps, torch.cat([concept, kept_by]))
        return (answer - torch.cat([learned, kept])).square().mean()

    yield from trained(model, loss, settings, seed, name, moved=moved)
