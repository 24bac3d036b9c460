"""Concept Inversion: embeddings learned against the very model that is attacked."""

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from ..inversion.diverse import Invert, Round, search_freely
from ..inversion.run import space_of, template_of, words_of
from ..models.base import Model
from ..settings import Settings
from ..spaces.base import InputSpace
from ..spaces.states import StateSpace
from .base import Finding, Target

PAPER = "Pham et al., 2023, arXiv:2308.01508"


class ConceptInversion(Settings):
    """How hard the attacker tries."""

    adaptive: ClassVar[bool] = True
    input_kind: ClassVar[int] = 4

    words: NonNegativeInt = 4  # learned at once, each from a start of its own; 0 is no attack
    steps: PositiveInt = 60
    batch: PositiveInt = 4  # noised images for each word and step
    lr: PositiveFloat = 0.03
    noise: tuple[float, float] = (0.4, 1.0)  # the part of the timesteps that is learned from, as in `Invert`
    images: PositiveInt = 32  # of the concept, drawn anew by the base model: what the attacker owns
    chunk: PositiveInt = 96  # most noised images in one forward pass, as in `Invert`
    # Free tokens of a prompt, or all states of the text encoder; None: the space of the target's embeddings.
    space: Literal["tokens", "states"] | None = None

    def run(self, target: Target) -> Iterator[Finding]:
        """One finding for each embedding that was learned."""
        if not self.words:
            return
        concept, space = target.concept, self._space(target)
        owned = target.owned(self.images)
        *_, last = concept_inversion(target.model, space, concept.noun, owned, self, target.rng)
        with torch.no_grad():
            found = space.cond(last.points).detach()
        known = self.space in (None, target.how.space)
        for number, (point, cond) in enumerate(zip(last.points.detach(), found, strict=True), 1):
            yield Finding(f"attempt {number}", cond[None], point=point if known else None)

    def _space(self, target: Target) -> InputSpace:
        if self.space is None:
            return space_of(target.base, target.concept, target.how)
        if self.space == "states":
            return StateSpace(target.base, template_of(target.concept, target.how))
        return words_of(target.base, target.concept, target.how)


PLUGIN = ConceptInversion


def concept_inversion(
    model: Model, space: InputSpace, noun: str, latents: Tensor, settings: ConceptInversion, rng: torch.Generator
) -> Iterator[Round]:
    """Yields after each step; the last round has the embeddings (K, E), which no bin holds.

    The attacker has the weights and images of the concept, latents (N, ...). The embeddings start in random directions at
    every angle from the concept's own embedding to a right one.
    """
    anchor = space.anchor(noun)
    begin = space.start(anchor, torch.zeros(settings.words), torch.full((settings.words,), 0.95), rng)
    shared = settings.model_dump(include={"steps", "batch", "lr", "noise", "chunk"})
    how = Invert(**shared)
    yield from search_freely(model, space, anchor, latents, how, rng, begin)
