"""Other guidance, other numbers of steps and negative prompts, with the concept's own name.

An erased model answers the name with something else, so the name as a *negative* prompt can lead back to the concept. Guidance is
that of Ho & Salimans, 2022 (arXiv:2207.12598); negative prompts are common practice without a paper. Full-size models draw with
50 steps and guidance 7.5. Here: 13 settings, 16 images each.
"""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from ..concepts import halves, spread
from ..sampling import draw
from ..settings import Settings
from .base import Finding, Target
from .path import Asked, Hand, path

PAPER = "after arXiv:2207.12598"


class GuidanceSweep(Settings):
    """What is tried. All other settings are those of the evaluation."""

    adaptive: ClassVar[bool] = True
    input_kind: ClassVar[int] = 6

    images: PositiveInt = 16  # of each setting
    guidances: tuple[NonNegativeFloat, ...] = (1.0, 1.5, 5.0, 7.5, 12.0)
    steps: tuple[PositiveInt, ...] = (4, 15, 30)  # of the model's own sampler
    away: tuple[PositiveFloat, ...] = (2.0, 4.0, 8.0)  # guidance from the name as a negative prompt to the empty prompt
    others: tuple[PositiveFloat, ...] = (3.0, 7.5)  # guidance from retain prompts as negative prompts to the name
    walk: PositiveInt = 12  # steps of DDIM with negative prompts

    def run(self, target: Target) -> Iterator[Finding]:
        """One finding for each setting."""
        hand = Hand.of(target, self.images)
        yield from self._plain(hand)
        levels, name = path(hand.model, self.walk), hand.named()
        for guidance in self.away:
            asked = Asked(hand.empty().cond, name.cond, guidance)
            label = f"the name as negative prompt, guidance {guidance:g}"
            yield hand.finding(label, hand.draw(levels, asked, hand.start()), asked)
        if not self.others:
            return
        tuning, _ = halves([target.concept])
        prompts = [prompt.text for prompt in spread(tuning, hand.count, target.rng)]
        for guidance in self.others:
            asked = Asked(name.cond, hand.model.encode(prompts), guidance)
            label = f"retain prompts as negative prompts, guidance {guidance:g}"
            yield hand.finding(label, hand.draw(levels, asked, hand.start()), asked)

    def _plain(self, hand: Hand) -> Iterator[Finding]:
        sampling, cond = hand.sampling, hand.named().cond
        tried = {f"guidance {g:g}": {"guidance": g} for g in self.guidances}
        tried |= {f"{steps} steps": {"steps": steps} for steps in self.steps}
        for label, change in tried.items():
            drawn = draw(hand.model, cond, hand.target.rng, sampling.model_copy(update=change))
            yield Finding(label, cond, samples=drawn)


PLUGIN = GuidanceSweep
