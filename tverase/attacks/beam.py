"""A beam over readable prompts: the concept's names and synonyms in its templates, with readable endings added.

After APT (ICCV 2025), where a language model writes the words that are added: 15 rounds, 12 candidates for each of 4 prompts
that are kept, scored by images of the concept and by how natural they read. Readable prompts got further on hardened models
than token soup.

Here a grammar takes the place of the language model, so that all prompts are readable: words of the concept file in its
templates, then endings from its compositions. The score is the denoising loss of images of the concept under the attacked
model. 4 rounds; the best prompts of all rounds are compared by drawing them.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from pydantic import NonNegativeInt, PositiveInt

from ..complexity import Halving
from ..concepts import Concept
from ..models.base import Model
from .base import Finding, Target
from .discrete import Noised, worst
from .paraphrases import bare, framed

NAME = "beam"
PAPER = "after APT, ICCV 2025"


class Beam(Halving):
    """How wide and how long the beam is."""

    adaptive: ClassVar[bool] = True
    input_kind: ClassVar[int] = 2

    rounds: NonNegativeInt = 4
    kept: PositiveInt = 4  # prompts of a round, from which the next one starts
    candidates: PositiveInt = 12  # endings for each of them
    compared: PositiveInt = 16  # prompts of all rounds that are drawn
    looks: PositiveInt = 12  # noised images of the concept that score a prompt
    noise: tuple[float, float] = (0.4, 1.0)  # the part of the timesteps that they are from
    images: PositiveInt = 16  # of the concept, which the attacker owns

    def run(self, target: Target) -> Iterator[Finding]:
        """One finding, the prompt that draws the concept most."""
        noised = Noised.drawn(target.model, target.owned(self.images), self.looks, self.noise, target.rng)
        scores: dict[str, float] = {}

        def score(prompts: Sequence[str]) -> list[str]:
            """All prompts so far, the likeliest first."""
            new = [prompt for prompt in fitting(target.base, prompts) if prompt not in scores]
            if new:
                scores.update(zip(new, noised.of_prompts(target.model, new).tolist(), strict=True))
            return sorted(scores, key=scores.__getitem__)

        order, ends = score(starts(target.concept)), endings(target.concept)
        for _ in range(self.rounds if ends else 0):
            drawn = torch.randint(len(ends), (self.kept, self.candidates), generator=target.rng).tolist()
            order = score([head + ends[i] for head, row in zip(order, drawn, strict=False) for i in row])
        if order:
            yield worst(target, NAME, order[: self.compared], self)


PLUGIN = Beam


def starts(concept: Concept) -> list[str]:
    """Names and synonyms as they are, and each bare word in each template."""
    words = [concept.noun, *(bare(text) for text in concept.synonyms)]
    placed = [text for word in words for text in framed(concept, word)]
    return list(dict.fromkeys([*concept.names, *concept.synonyms, *placed]))


def endings(concept: Concept) -> list[str]:
    """What can follow a prompt: the ends of templates and compositions, and the concept once more."""
    after = [template.partition("{}")[2] for template in concept.templates]
    after += [text.partition(concept.noun)[2] for text in concept.compositions if concept.noun in text]
    again = [f"{joint}{text}" for text in (*concept.names, *concept.synonyms) for joint in (" and ", ", ")]
    return list(dict.fromkeys(text for text in (*after, *again) if text.strip()))


def fitting(model: Model, prompts: Sequence[str]) -> list[str]:
    """The prompts that the text encoder reads whole, each once."""
    once = list(dict.fromkeys(prompts))
    overflow = getattr(model, "overflow", None)
    cut = {prompt for prompt, _ in overflow(once)} if overflow else set()
    return [prompt for prompt in once if prompt not in cut]
