"""In-painting: the centre of an image of the concept is cut out, and the attacked model fills it in.

As RePaint does it (Lugmayr et al., 2022, arXiv:2201.09865): after each step what is known is put back, with the noise of that level,
and the step is repeated so that both parts agree. RePaint takes 250 steps, 10 times each; the probe of WhenAreConceptsErased
(2025, arXiv:2505.17013) cuts the half of each side. Here: 12 steps, 3 times each, half and three quarters, 16 images each.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from ..settings import Settings
from .base import Finding, Target
from .path import Asked, Hand, Level, path, require_maps

NAME = "in-painting"
PAPER = "arXiv:2505.17013"


class InPainting(Settings):
    """How much is cut out, and how hard the model tries."""

    adaptive: ClassVar[bool] = True
    input_kind: ClassVar[int] = 6

    images: PositiveInt = 16  # of each setting
    steps: PositiveInt = 12
    repeats: PositiveInt = 3  # of each step
    sides: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (
        0.5,
        0.75,
    )  # of the square, as a share of the image's side
    prompts: tuple[Literal["empty", "name"], ...] = ("empty", "name")

    def run(self, target: Target) -> Iterator[Finding]:
        """One finding for each size and prompt."""
        hand = Hand.of(target, self.images)
        owned = hand.owned()
        require_maps(owned, NAME)
        levels = path(hand.model, self.steps)
        for prompt in self.prompts:
            asked = hand.asked(prompt)
            for side in self.sides:
                drawn = filled(hand, levels, asked, owned, centre(owned, side), self.repeats)
                yield hand.finding(f"{side:.0%} of the side, {prompt} prompt", drawn, asked)


def centre(latents: Tensor, side: float) -> Tensor:
    """1 in the square that is filled in, 0 in what is kept: (1, 1, h, w)."""
    mask = torch.zeros(1, 1, *latents.shape[2:], device=latents.device)
    size = [max(1, round(side * n)) for n in latents.shape[2:]]
    top, left = ((n - cut) // 2 for n, cut in zip(latents.shape[2:], size, strict=True))
    mask[:, :, top : top + size[0], left : left + size[1]] = 1
    return mask


@torch.no_grad()
def filled(hand: Hand, levels: Sequence[Level], asked: Asked, owned: Tensor, mask: Tensor, repeats: int) -> Tensor:
    """Latents (count, ...) that are `owned` outside of the mask and the model's own inside of it."""
    drawn = []
    for part in hand.parts():
        known, question = owned[part], asked.rows(part)
        latents = hand.fresh(known)
        for level, lower in pairwise(levels):
            for again in reversed(range(repeats if lower.spread else 1)):
                x, noise = question.parted(hand.model, latents, level)
                mine = level.below(lower, x, noise, hand.fresh(x), 1.0)
                joined = mask * mine + (1 - mask) * lower.mixed(known, hand.fresh(known))
                latents = level.above(lower, joined, hand.fresh(known)) if again else joined
        drawn.append(latents)
    return torch.cat(drawn)


PLUGIN = InPainting
