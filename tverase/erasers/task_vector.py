"""The task vector itself: fine-tuning on images of the concept with the empty caption, and the difference in the weights.

tau = theta_ft - theta_0; the edit is theta_0 - alpha * tau. Its settings are those of `finetune`, with the same defaults, and the
same seed gives the bytes of the main job with `build_vector: {weighting: none}`. Strength 1 is tau itself. The paper takes 200 steps of 16 images at lr 1e-5 and
alpha 1.75 for SD 1.4.
"""

import torch
from torch import Tensor

from ..build import build_vector
from ..concepts import run_name
from ..finetune import FineTune, fine_tune
from ..models.base import repeated
from ..vector import TaskVector
from ..vectors.copies import copy_name
from .base import Material
from .teaching import last

PAPER = "Pham et al., 2024, arXiv:2404.03631"


class PlainTaskVector(FineTune):
    """The settings of `finetune`."""

    def run(self, material: Material) -> TaskVector:
        """One fine-tune on the images of all concepts, or with `joint: false` one each, whose vectors are added."""
        model, found = material.model, {}
        for name, latents, captions in self._lessons(material):
            for copy in (copy_name(name, number) for number in range(self.copies)):
                rounds = fine_tune(model, latents, self, material.seed, f"finetune/{copy}", captions=captions)
                found[copy] = last(rounds, self.steps, material, f"fine-tuning on {copy}", model.weights())
        return build_vector(model.weights(), {name: found[name] for name in sorted(found)})

    def _lessons(self, material: Material) -> list[tuple[str, Tensor, Tensor | None]]:
        """The name of each fine-tune, its latents (N, ...), and their captions if it has some."""
        groups = [list(material.concepts)] if self.joint else [[concept] for concept in material.concepts]
        lessons = []
        for group in groups:
            parts = [material.latents[concept.name] for concept in group]
            rows = [repeated(material.names(c), len(part)) for c, part in zip(group, parts, strict=True)]
            lessons.append((run_name(group), torch.cat(parts), torch.cat(rows) if self.named else None))
        return lessons


PLUGIN = PlainTaskVector
