"""The images that everything starts from: of each concept, and of the retain set."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from torch import Tensor

from ..bounds import Bound
from ..concepts import joint
from ..concepts.check import check_prompts
from ..context import Context
from ..drawing import draw_concept, learned_images, require_drawn, retain_images
from ..files import read_tensors, write_tensors
from ..images import to_bytes
from ..judges.base import require_labels

if TYPE_CHECKING:
    from ..config import MakeImages

CONTROL_PROMPTS = "control prompts"  # in the file's metadata
SHOWN = 16  # pictures of each concept


@dataclass(frozen=True)
class Images:
    """Images as latents.

    tensors: `latents/<slug>` (N, ...) of each concept, and `latents/control` (M, ...) of the retain set. `shown/<slug>` has a
    few pictures as uint8 (n, 3, H, W).
    prompts: `prompts[i]` drew row i of `latents/control`. rates: by slug, how often the judge sees the concept, as `hits/images`.
    """

    tensors: Mapping[str, Tensor]
    prompts: tuple[str, ...]
    rates: Mapping[str, str]

    def forget(self, context: Context) -> dict[str, Tensor]:
        """Latents (N, ...) of each concept's images, by its name, on the model's device."""
        return {c.name: self.tensors[f"latents/{c.slug}"].to(context.model.device) for c in context.concepts}

    def retain(self, context: Context) -> tuple[Tensor, Tensor]:
        """Latents (M, ...) of the retain set and the conditionings (M, ...) that they were drawn by."""
        return self.tensors["latents/control"].to(context.model.device), context.model.encode(list(self.prompts))

    def save(self, path: Path) -> None:
        """One safetensors file, the rest in its metadata."""
        write_tensors(self.tensors, path, {**self.rates, CONTROL_PROMPTS: json.dumps(self.prompts)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        tensors, about = read_tensors(path)
        prompts = json.loads(about.pop(CONTROL_PROMPTS))
        return cls(tensors, tuple(prompts), about)


def make_images(context: Context, settings: "MakeImages") -> Images:
    """Draw each concept and the retain set on the base model; `NothingToErase` if the judge does not see a concept."""
    model, sampling, seed = context.model, context.sampling, context.seed
    check_prompts(model, context.concepts)
    require_labels(context.judge, [label for p in joint(context.concepts) for label in p.labels])
    tensors, rates = {}, {}
    for concept in context.concepts:
        drawn = draw_concept(model, concept, settings.images, seed, sampling, context.tell)
        bound: Bound = require_drawn(concept, drawn.images, context.judge, settings.at_least)
        learned = learned_images(model, concept, drawn, sampling.batch)
        tensors[f"latents/{concept.slug}"] = learned.latents
        tensors[f"shown/{concept.slug}"] = to_bytes(learned.images[:SHOWN])
        rates[concept.slug] = f"{bound.successes}/{bound.trials}"
    prompts, tensors["latents/control"] = retain_images(model, context.concepts, settings.controls, seed, sampling)
    return Images(tensors, tuple(prompts), rates)
