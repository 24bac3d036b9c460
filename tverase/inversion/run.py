"""One Diverse Inversion for one concept: all three sets in one batch, then told apart."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

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
from ..spaces.states import StateSpace
from .diverse import Invert, Look, Round, invert
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
    cost: int = 0  # evaluations of the denoiser that search and acceptance took; pictures are not counted

    @property
    def space(self) -> InputSpace:
        """The space that is searched."""
        return space_of(self.model, self.concept, self.settings)

    def rounds(self, bins: Tensor, latents: Tensor, checkpoint: Path | None = None) -> Iterator[Round]:
        """Search and acceptance of one embedding for each of the `bins` (K, 2); resumes from `checkpoint`."""
        anchor, before = self.space.anchor(self.concept.noun), self.model.meter.evaluations
        rng = generator(self.seed, f"invert/{self.concept.name}")
        how = self.settings, rng, self._hits, checkpoint, self._looks
        for found in invert(self.model, self.space, anchor, bins, latents, *how):
            self.cost = self.model.meter.evaluations - before
            yield found

    def run(self, latents: Tensor, tell: Tell = silent, checkpoint: Path | None = None) -> dict[str, InversionSet]:
        """A set for each role. latents (N, ...): of images that show the concept; resumes from `checkpoint`."""
        slots = [
            (role, bin_, i) for role in self.roles for bin_ in self.settings.bins for i in range(self.settings.per_bin)
        ]
        bins = torch.tensor([bin_ for _, bin_, _ in slots])
        last: Round | None = None
        for last in self.rounds(bins, latents, checkpoint):
            note = f"loss {last.losses.mean():.3f}"
            tell(Progress(f"inverting {self.concept.name}", last.step, self.settings.steps, note))
        if last is None or last.hits is None:
            raise RuntimeError("the inversion ended without a last round")
        pictures = self._drawn(last.points, SHOWN, "pictures")
        cosines = cone.cosine(last.points, self.space.anchor(self.concept.noun))
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

    def _hits(self, points: Tensor, attempt: int) -> list[int]:
        """For each embedding, in how many fresh images of the base model the judge sees the concept."""
        seen = self._shows(self._drawn(points, self.settings.images, f"accept/{attempt + 1}"))
        return [int(hits) for hits in seen.sum(1)]

    def _looks(self, attempt: int) -> Look:
        """Who draws the concept in all of a few images of the base model, in this attempt."""

        def draws(step: int, points: Tensor) -> Tensor:
            return self._shows(self._drawn(points, self.settings.look, f"look/{attempt + 1}/{step}")).all(1)

        return draws

    def _drawn(self, points: Tensor, count: int, purpose: str) -> Tensor:
        """`count` images of each embedding (K, count, 3, H, W)."""
        rng = generator(self.seed, f"invert/{self.concept.name}/{purpose}")
        with torch.no_grad():
            cond = self.space.cond(points).repeat_interleave(count, 0)
        images = draw(self.model, cond, rng, self.sampling)
        return images.view(len(points), count, *images.shape[1:])

    def _shows(self, images: Tensor) -> Tensor:
        """In which of the images (K, n, 3, H, W) the judge sees the concept (K, n)."""
        return shows(self.judge, images.flatten(0, 1), self.concept.label).view(images.shape[:2])


def template_of(concept: Concept, settings: Invert) -> str:
    """The prompt around the free word: the concept's own, unless the settings give one."""
    return settings.template or concept.template


def space_of(model: Model, concept: Concept, settings: Invert) -> InputSpace:
    """The space in which the inputs of a concept are searched: what a point that was found means."""
    if settings.space == "states":
        return StateSpace(model, template_of(concept, settings))
    return words_of(model, concept, settings)


def words_of(model: Model, concept: Concept, settings: Invert) -> InputSpace:
    """The free words of the template, also where the states are searched."""
    return model.space(template_of(concept, settings), settings.tokens)


def spaces_of(model: Model, concept: Concept, settings: Invert) -> list[InputSpace]:
    """All spaces of a point: tokens have one for each of the concept's templates, and states have one."""
    if settings.space == "states":
        return [space_of(model, concept, settings)]
    return [model.space(template, settings.tokens) for template in concept.templates]
