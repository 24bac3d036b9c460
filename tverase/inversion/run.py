"""One Diverse Inversion for one concept: all three sets in one batch, then told apart."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..concepts import Concept
from ..judges.base import Judge, shows
from ..models.base import Model
from ..progress import Progress, Tell, silent
from ..rng import generator
from ..sampling import Sampling, draw
from ..spaces import cone
from ..spaces.base import InputSpace
from .diverse import Invert, Round, invert
from .sets import ROLES, Found, InversionSet

SHOWN = 6  # pictures kept of each embedding


@dataclass
class InversionRun:
    """Searches, accepts on fresh seeds and sorts into `tune`, `validate` and `report`."""

    model: Model
    concept: Concept
    settings: Invert
    judge: Judge
    sampling: Sampling
    seed: int
    roles: tuple[str, ...] = ROLES  # the sets that are made
    shown: dict[str, Tensor] = field(default_factory=dict)  # name -> images (n, 3, H, W) of the base model
    _drawn: int = 0

    @property
    def space(self) -> InputSpace:
        """The space that is searched."""
        return space_of(self.model, self.concept, self.settings)

    def run(self, latents: Tensor, tell: Tell = silent) -> dict[str, InversionSet]:
        """A set for each role. latents (N, ...): of images that show the concept."""
        slots = [
            (role, bin_, i) for role in self.roles for bin_ in self.settings.bins for i in range(self.settings.per_bin)
        ]
        bins = torch.tensor([bin_ for _, bin_, _ in slots])
        space, anchor = self.space, self.space.anchor(self.concept.noun)
        rng = generator(self.seed, f"invert/{self.concept.name}")
        last: Round | None = None
        for last in invert(self.model, space, anchor, bins, latents, self.settings, rng, self._hits):
            note = f"loss {last.losses.mean():.3f}"
            tell(Progress(f"inverting {self.concept.name}", last.step, self.settings.steps, note))
        if last is None or last.hits is None:
            raise RuntimeError("the inversion ended without a last round")
        pictures = self._pictures(last.points)
        cosines = cone.cosine(last.points, anchor)
        sets: dict[str, InversionSet] = {}
        for role in self.roles:
            mine = [i for i, slot in enumerate(slots) if slot[0] == role]
            found = []
            for i in mine:
                _, (low, high), number = slots[i]
                name = f"{self.concept.slug}/{role}/{low:g}..{high:g}/{number}"
                hits, drawn = last.hits[i], self.settings.images
                accepted = hits >= self.settings.accept * drawn
                cosine = round(float(cosines[i]), 4)
                found.append(Found(name, self.concept.name, low, high, cosine, hits, drawn, accepted))
                self.shown[name] = pictures[i]
            sets[role] = InversionSet(last.points[mine].cpu(), tuple(found), template_of(self.concept, self.settings))
        return sets

    def _hits(self, points: Tensor) -> list[int]:
        """For each embedding, in how many fresh images of the base model the judge sees the concept."""
        self._drawn += 1
        count = self.settings.images
        rng = generator(self.seed, f"invert/{self.concept.name}/accept/{self._drawn}")
        with torch.no_grad():
            cond = self.space.cond(points).repeat_interleave(count, 0)
        images = draw(self.model, cond, rng, self.sampling)
        seen = shows(self.judge, images, self.concept.name).view(len(points), count)
        return [int(hits) for hits in seen.sum(1)]

    def _pictures(self, points: Tensor) -> Tensor:
        """A few images of each embedding (K, SHOWN, 3, H, W)."""
        rng = generator(self.seed, f"invert/{self.concept.name}/pictures")
        with torch.no_grad():
            cond = self.space.cond(points).repeat_interleave(SHOWN, 0)
        images = draw(self.model, cond, rng, self.sampling)
        return images.view(len(points), SHOWN, *images.shape[1:])


def template_of(concept: Concept, settings: Invert) -> str:
    """The prompt around the free word: that of the settings, unless the concept needs its own."""
    return concept.template if concept.kind == "style" else settings.template


def space_of(model: Model, concept: Concept, settings: Invert) -> InputSpace:
    """The space in which the inputs of a concept are searched."""
    return model.space(template_of(concept, settings))
