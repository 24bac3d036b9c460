"""Concept Inversion: words learned against the very model that is attacked (Pham et al., 2023, arXiv:2308.01508)."""

from collections.abc import Iterator

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from ..inversion.diverse import Invert, Round, search_freely
from ..models.base import Model
from ..settings import Settings
from ..spaces.base import InputSpace


class ConceptInversion(Settings):
    """How hard the attacker tries."""

    words: NonNegativeInt = 4  # learned at once, each from a start of its own; 0 is no attack
    steps: PositiveInt = 60
    batch: PositiveInt = 4  # noised images for each word and step
    lr: PositiveFloat = 0.03
    noise: tuple[float, float] = (0.4, 1.0)  # the part of the timesteps that is learned from, as in `Invert`
    images: PositiveInt = 32  # of the concept, drawn anew by the base model: what the attacker owns
    chunk: PositiveInt = 96  # most noised images in one forward pass, as in `Invert`


def concept_inversion(
    model: Model, space: InputSpace, noun: str, latents: Tensor, settings: ConceptInversion, rng: torch.Generator
) -> Iterator[Round]:
    """Yields after each step; the last round has the words (K, E), which no bin holds.

    Whoever attacks has the weights and images of the concept, latents (N, ...). The words start in random directions at
    every angle from the concept's own embedding to a right one.
    """
    anchor = space.anchor(noun)
    begin = space.start(anchor, torch.zeros(settings.words), torch.full((settings.words,), 0.95), rng)
    shared = settings.model_dump(include={"steps", "batch", "lr", "noise", "chunk"})
    how = Invert(**shared)
    yield from search_freely(model, space, anchor, latents, how, rng, begin)
