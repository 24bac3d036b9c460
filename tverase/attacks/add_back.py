"""Add-back: a task vector of the concept that somebody else has published is added to the erased weights.

The edit of Pham et al., 2024 (arXiv:2404.03631) is theta_0 - alpha * tau. Whoever has the base model makes a tau of his own from other
images and other noise, and theta_erased + k * tau undoes what both share. Here: 24 images of his own, 60 steps of 8 noised images
with the empty caption, and four strengths; the paper fine-tunes Stable Diffusion for some hundreds of steps at 1e-5.
"""

from collections.abc import Iterator
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt

from ..finetune import FineTune, fine_tune
from ..settings import Settings
from ..vector import TaskVector
from .base import Finding, Target
from .retraining import Namer

PAPER = "after arXiv:2404.03631"


class AddBack(Settings):
    """How the attacker's vector is made, and how strongly it is added."""

    adaptive: ClassVar[bool] = True
    input_kind: ClassVar[int] = 7

    owned: PositiveInt = 24  # images of the concept
    steps: PositiveInt = 60
    batch: PositiveInt = 8
    lr: PositiveFloat = 1e-4
    strengths: tuple[PositiveFloat, ...] = (0.5, 1.0, 2.0, 4.0)
    images: PositiveInt = 16  # of each finding

    def run(self, target: Target) -> Iterator[Finding]:
        """One finding for each strength."""
        namer, vector = Namer.of(target, self.images), self._vector(target)
        for strength in self.strengths:
            weights = vector.apply(target.model.weights(), -strength, check=False)
            yield namer.finding(f"strength {strength:g}", weights)

    def _vector(self, target: Target) -> TaskVector:
        """What fine-tuning the base model on the attacker's own images adds to it."""
        latents = target.owned(self.owned).to(target.base.device)
        seed = int(torch.randint(2**40, (), generator=target.rng))
        how = FineTune(steps=self.steps, batch=self.batch, lr=self.lr)
        *_, (_, weights) = fine_tune(target.base, latents, how, seed, "add-back")
        return TaskVector.between(target.base.weights(), weights)


PLUGIN = AddBack
