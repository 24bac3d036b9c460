"""Text-free inversion: the noise from which the attacked model draws a given image, without any text.

TINA (2026, arXiv:2603.17828): DDIM inversion under the empty prompt, 50 steps, each refined by 25 steps of AdamW until the latent
is consistent with the model's answer; then the model draws from the noise, again without text. Here each step is refined by up to
20 damped fixed-point iterations, as in Pan et al., 2023 (arXiv:2309.04907); 12 steps, 16 images. An inversion gives back images
of objects that the model never saw as well, so only the difference to a never-taught model counts. With a share of fresh noise the
image itself is lost, and what the model knows of the concept remains.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from ..models.base import Model
from ..settings import Settings
from .base import Finding, Target
from .path import Asked, Hand, Level, path

PAPER = "arXiv:2603.17828"


class TextFreeInversion(Settings):
    """How exact the inversion is."""

    adaptive: ClassVar[bool] = True
    input_kind: ClassVar[int] = 6

    images: PositiveInt = 16
    steps: PositiveInt = 12
    refined: NonNegativeInt = 20  # iterations of each step; 0 is plain DDIM inversion
    damping: Annotated[float, Field(gt=0, le=1)] = 0.5  # the share of an iteration's change that is taken
    fresh: tuple[Annotated[float, Field(ge=0, le=1)], ...] = (
        0.0,
        0.5,
    )  # the variance of fresh noise in the inverted one

    def run(self, target: Target) -> Iterator[Finding]:
        """One finding for each share of fresh noise."""
        hand = Hand.of(target, self.images)
        levels, asked = path(hand.model, self.steps), hand.empty()
        owned = hand.owned()
        ends = [self._inverted(hand, owned[part], levels, asked.rows(part)) for part in hand.parts()]
        noise = torch.cat(ends)
        for share in self.fresh:
            begun = (1 - share) ** 0.5 * noise + share**0.5 * hand.start()
            yield hand.finding(f"{share:.0%} fresh noise", hand.draw(levels, asked, begun), asked)

    def _inverted(self, hand: Hand, owned: Tensor, levels: Sequence[Level], asked: Asked) -> Tensor:
        return inverted(hand.model, owned, levels, asked, self.refined, self.damping)


@torch.no_grad()
def inverted(
    model: Model, latents: Tensor, levels: Sequence[Level], asked: Asked, refined: int, damping: float = 0.5
) -> Tensor:
    """Latents (N, ...) of the first level from which DDIM leads back to these clean ones (N, ...).

    A step up has to solve z = join(z0, noise(z)) for z: the noise is first that of the level below, then of the last guess.
    """
    noise = torch.zeros_like(latents)
    for lower, level in pairwise(reversed(levels)):
        share = level.signal / lower.signal
        spread = level.spread - share * lower.spread
        # From the clean end, where no model can be asked, the first guess is the image without noise.
        guess = share * latents + spread * noise
        for _ in range(max(refined, 1)):
            _, noise = asked.parted(model, guess, level)
            guess = torch.lerp(guess, share * latents + spread * noise, damping if refined else 1.0)
        latents = guess
    return latents


PLUGIN = TextFreeInversion
