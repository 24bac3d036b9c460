"""The images of a concept that everything starts from: drawn by the model itself, with guidance."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .bounds import Bound
from .concepts import Concept, evenly
from .errors import NothingToErase
from .judges.base import Judge, shows
from .models.base import Model
from .progress import Progress, Tell, silent
from .rng import generator
from .sampling import Sampling, draw_latents


@dataclass(frozen=True)
class Drawn:
    """Latents (N, ...) and their images (N, 3, H, W)."""

    latents: Tensor
    images: Tensor


def draw_concept(
    model: Model, concept: Concept, count: int, seed: int, sampling: Sampling, tell: Tell = silent
) -> Drawn:
    """`count` images of the concept, spread over its names and the compositions that tune: it is seen in every setting."""
    prompts = (*concept.names, *concept.tuning)
    rng = generator(seed, f"make_images/{concept.name}")
    tell(Progress(f"drawing {concept.name}", 0, count))
    latents = draw_latents(model, model.encode(evenly(prompts, count)), rng, sampling)
    model.meter.images += count
    images = torch.cat([model.to_images(part) for part in torch.split(latents, sampling.batch)])
    tell(Progress(f"drawing {concept.name}", count, count))
    return Drawn(latents.cpu(), images)


def require_drawn(concept: Concept, images: Tensor, judge: Judge, at_least: float) -> Bound:
    """How often the judge sees the concept; `NothingToErase` if that is below `at_least`."""
    bound = Bound(int(shows(judge, images, concept.label).sum()), len(images))
    if bound.rate < at_least:
        raise NothingToErase(
            f"the base model draws {concept.name!r} in only {bound.successes} of {bound.trials} images ({bound.rate:.0%}, "
            f"at least {at_least:.0%} expected): there is nothing to erase, or another judge is needed."
        )
    return bound
