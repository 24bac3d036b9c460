"""More noise on the way: DDIM with every eta and size of the noise, and the concept's own name.

The noise probe of WhenAreConceptsErased (2025, arXiv:2505.17013): eta 1 to 1.85, noise times 1 to 1.04, 50 steps, and of
all 24 images of a prompt the likeliest counts. Here: 12 steps, 8 images of each of the 24 settings, each setting a finding.
"""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from ..settings import Settings
from .base import Finding, Target
from .path import Hand, path

PAPER = "arXiv:2505.17013"


class NoiseSweep(Settings):
    """The noise of each step."""

    adaptive: ClassVar[bool] = True
    input_kind: ClassVar[int] = 6

    images: PositiveInt = 8  # of each setting
    steps: PositiveInt = 12
    etas: tuple[NonNegativeFloat, ...] = (1.0, 1.17, 1.34, 1.51, 1.68, 1.85)  # 0: DDIM, 1: as much as DDPM
    scales: tuple[PositiveFloat, ...] = (1.0, 1.02, 1.03, 1.04)  # of the noise's size

    def run(self, target: Target) -> Iterator[Finding]:
        """One finding for each eta and scale."""
        hand = Hand.of(target, self.images)
        levels, asked = path(hand.model, self.steps), hand.named()
        for eta in self.etas:
            for scale in self.scales:
                drawn = hand.draw(levels, asked, hand.start(), eta=eta, scale=scale)
                yield hand.finding(f"eta {eta:g}, noise times {scale:g}", drawn, asked)


PLUGIN = NoiseSweep
