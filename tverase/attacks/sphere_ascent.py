"""Random directions, the likeliest of them turned little by little and then led by gradient, for models on a sphere."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from ..complexity import Halving, search_worst
from ..inversion.diverse import WHOLE, Invert, search_freely
from .base import Finding, Target
from .directions import Counter

NAME = "sphere-ascent"


class SphereAscent(Halving):
    """The search that a grid cannot do. The last comparison is by halving, which begins with `first` images of each."""

    adaptive: ClassVar[bool] = True
    input_kind: ClassVar[int] = 4

    inputs: PositiveInt = 192  # random inputs, and
    images: PositiveInt = 2  # of each
    kept: PositiveInt = 8  # the likeliest of a round, from which the next one starts
    turns: tuple[PositiveFloat, ...] = (0.4, 0.2, 0.1)  # radians, one round each
    children: PositiveInt = 6  # turned copies of each that was kept, each with twice the images
    first: PositiveInt = 8
    steps: PositiveInt = 40  # of the gradient
    batch: PositiveInt = 8
    lr: PositiveFloat = 0.05
    owned: PositiveInt = 200  # images of the concept that the attacker has

    def run(self, target: Target) -> Iterator[Finding]:
        """One finding, the worst of all.

        The gradient is that of the denoising loss of the attacker's images, as in textual inversion, against the model under
        attack. It leads to where the concept lies for this model; the turns find what a changed model hides elsewhere.
        """
        counter, rng = Counter.of(target, NAME), target.rng
        anchor = counter.space.anchor(target.concept.noun)
        best, tried = self._turned(counter, anchor, rng)
        how = Invert(steps=self.steps, batch=self.batch, lr=self.lr, **WHOLE)
        latents = target.owned(self.owned)
        *_, last = search_freely(target.model, counter.space, anchor, latents, how, rng, best)
        ends = counter.space.cond(torch.cat([best, last.points]))
        found = search_worst(counter.count, ends, self, "last")
        yield counter.finding(found.point, f"the worst of {tried + len(best)} inputs")

    def _turned(self, counter: Counter, anchor: Tensor, rng: torch.Generator) -> tuple[Tensor, int]:
        """The likeliest inputs of a search that narrows round by round, and how many it tried."""
        points = torch.cat([anchor[None], counter.space.anywhere(self.inputs, rng)])
        best, tried = self._likeliest(counter, points, self.images, "random"), len(points)
        for round_, angle in enumerate(self.turns):
            turned = counter.space.near(best.repeat_interleave(self.children, 0), angle, rng)
            # Those that were kept are drawn anew as well: what was chosen for its luck loses it.
            best = self._likeliest(counter, torch.cat([best, turned]), 2 * self.images, f"turn {round_}")
            tried += len(turned)
        return best, tried

    def _likeliest(self, counter: Counter, points: Tensor, images: int, purpose: str) -> Tensor:
        score = counter.likeness(points, images, purpose)
        return points[torch.argsort(score, descending=True, stable=True)[: self.kept]]


PLUGIN = SphereAscent
