"""An attack without gradients."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from pydantic import PositiveInt

from tverase.attacks.base import Finding, Target
from tverase.inversion.run import space_of
from tverase.sampling import Sampling, draw_latents
from tverase.settings import Settings


class RandomSearch(Settings):
    """Of many random inputs, those whose images are nearest to images of the concept."""

    adaptive: ClassVar[bool] = True  # it looks at the attacked model's answers
    input_kind: ClassVar[int] = 4  # embeddings

    tries: PositiveInt = 64
    findings: PositiveInt = 2  # the best of them
    images: PositiveInt = 8  # of the concept, which the attacker owns
    steps: PositiveInt = 4  # of the sampler

    @torch.no_grad()
    def run(self, target: Target) -> Iterator[Finding]:
        """The best inputs, the best one first."""
        space = space_of(target.base, target.concept, target.how)
        low, high = torch.full((self.tries,), -0.5), torch.full((self.tries,), 0.95)  # cosines to the concept's own
        points = space.start(space.anchor(target.concept.noun), low, high, target.rng)
        sampling = Sampling(steps=self.steps, guidance=1.0)
        drawn = draw_latents(target.model, space.cond(points), target.rng, sampling)
        far = (drawn - target.owned(self.images).mean(0)).flatten(1).norm(dim=1)
        for number, best in enumerate(far.argsort()[: self.findings], 1):
            point = points[best]
            yield Finding(f"attempt {number}", space.cond(point[None]), point=point)
