"""The images of a concept that everything starts from: drawn by the model itself, with guidance."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .bounds import Bound
from .concepts import Concept, evenly, halves, spread
from .concepts.own import captioned, image_files, read_images
from .errors import ConfigError, NothingToErase
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


def own_images(model: Model, paths: Sequence[Path], count: int, batch: int) -> Drawn:
    """`count` of a person's own pictures, spread evenly over all and fitted to the model's size."""
    *_, height, width = model.to_images(model.start(1, generator(0, "own images"))).shape
    images = read_images(paths, height, width)
    latents = torch.cat([model.to_latents(part).cpu() for part in torch.split(images, batch)])
    which = evenly(range(len(paths)), count)
    return Drawn(latents[which], images[which])


def learned_images(model: Model, concept: Concept, drawn: Drawn, batch: int) -> Drawn:
    """What the vector is learned from: the concept's own pictures if it has some, or else what the model drew."""
    if concept.images is None:
        return drawn
    return own_images(model, image_files(concept.images), len(drawn.latents), batch)


def retain_images(
    model: Model, concepts: Sequence[Concept], count: int, seed: int, sampling: Sampling
) -> tuple[list[str], Tensor]:
    """`count` prompts of the half that tunes, and a latent (N, ...) for each: own pictures with captions, or drawn."""
    tuning, scoring = halves(concepts)
    rng = generator(seed, "make_images/control")
    folders = [concept.retain_images for concept in concepts if concept.retain_images is not None]
    if not folders:
        prompts = [prompt.text for prompt in spread(tuning, count, rng)]
        return prompts, draw_latents(model, model.encode(prompts), rng, sampling)
    scored = {prompt.text for prompt in scoring} - {prompt.text for prompt in tuning}
    found = {path: text for folder in folders for path, text in captioned(folder).items() if text not in scored}
    if not found:
        raise ConfigError(f"every caption in {folders[0]} is a retain prompt that is only scored; add pictures.")
    captions = evenly(list(found.values()), count)
    return captions, own_images(model, list(found), count, sampling.batch).latents


def require_drawn(concept: Concept, images: Tensor, judge: Judge, at_least: float) -> Bound:
    """How often the judge sees the concept; `NothingToErase` if that is below `at_least`."""
    bound = Bound(int(shows(judge, images, concept.label).sum()), len(images))
    if bound.rate < at_least:
        raise NothingToErase(
            f"the base model draws {concept.name!r} in only {bound.successes} of {bound.trials} images ({bound.rate:.0%}, "
            f"at least {at_least:.0%} expected): there is nothing to erase, or another judge is needed."
        )
    return bound
