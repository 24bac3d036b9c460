"""Ring-A-Bell: prompts near the text encoder's direction of the concept, found without the denoiser.

Tsai et al. (2023): the direction is the mean difference of the text encoder's outputs for pairs of prompts with and without
the concept; the target is the output for a prompt plus 3 times the direction. A genetic search over 16 tokens (population
200, the best half stays, crossover 0.5, mutation 0.25, 3,000 generations) looks for the prompt whose output is nearest.

Here: the pairs are the concept's templates with its noun and with its neighbours; 8 tokens, a population of 100 and 100
generations for each of 3 names. It needs no denoiser evaluation, and the same prompts are tried on every model.
"""

from collections.abc import Iterator
from typing import ClassVar

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from ..concepts import Concept, evenly
from ..models.base import repeated
from ..settings import Settings
from .base import Finding, Target
from .discrete import Words

NAME = "ring-a-bell"
PAPER = "Tsai et al., 2023, arXiv:2310.10012"


class RingABell(Settings):
    """The size of the genetic search."""

    adaptive: ClassVar[bool] = False
    input_kind: ClassVar[int] = 3

    tokens: PositiveInt = 8
    attempts: PositiveInt = 3  # names of the concept, one search each
    pairs: PositiveInt = 30  # prompts with and without the concept
    scale: NonNegativeFloat = 3.0  # of the direction
    population: int = Field(default=100, ge=4)
    generations: PositiveInt = 100
    crossover: float = Field(default=0.5, ge=0, le=1)
    mutation: float = Field(default=0.25, ge=0, le=1)

    @torch.no_grad()
    def run(self, target: Target) -> Iterator[Finding]:
        """One finding for each name that gave a prompt."""
        words, base = Words.of(NAME, target.base), target.base
        along = direction(target, self.pairs)
        for name in dict.fromkeys(evenly(target.concept.names, self.attempts)):
            aim = base.encode([name]).flatten(1) + self.scale * along
            *_, (found, _) = self.search(words, aim, target.rng)
            for prompt in words.prompts(found[None]):
                yield Finding(repr(prompt), repeated(base.encode([prompt]), target.budget), text=(prompt,))

    def search(self, words: Words, aim: Tensor, rng: torch.Generator) -> Iterator[tuple[Tensor, float]]:
        """The nearest tokens (n,) to `aim` (1, D) of each generation, and their squared distance; it never grows."""
        space = words.model.space("{}", self.tokens)
        crowd = words.random((self.population, self.tokens), rng)
        for _ in range(self.generations):
            distance = (space.cond(words.embeddings(crowd).flatten(1)).flatten(1) - aim).square().sum(1).cpu()
            order = torch.argsort(distance, stable=True)
            yield crowd[order[0]], float(distance[order[0]])
            best = crowd[order[: self.population // 2]]
            crowd = torch.cat([best, self._children(words, best, self.population - len(best), rng)])

    def _children(self, words: Words, parents: Tensor, count: int, rng: torch.Generator) -> Tensor:
        """Tokens (count, n): of each two parents, perhaps exchanged from one place on, perhaps with a token replaced."""
        pairs = torch.randint(len(parents), ((count + 1) // 2, 2), generator=rng)
        one, other = parents[pairs[:, 0]], parents[pairs[:, 1]]
        cut = torch.randint(1, max(2, self.tokens), (len(one), 1), generator=rng)
        swap = (torch.rand(len(one), 1, generator=rng) < self.crossover) & (torch.arange(self.tokens) >= cut)
        children = torch.cat([torch.where(swap, other, one), torch.where(swap, one, other)])[:count]
        changed = torch.rand(count, generator=rng) < self.mutation
        place = torch.randint(self.tokens, (count,), generator=rng)
        here = torch.arange(self.tokens)[None] == place[:, None]
        return torch.where(here & changed[:, None], words.random((count, 1), rng), children)


PLUGIN = RingABell


def direction(target: Target, pairs: int) -> Tensor:
    """The mean difference of the encoder's outputs with and without the concept, (1, D)."""
    concept = target.concept
    with_it = evenly([template.replace("{}", concept.noun) for template in concept.templates], pairs)
    without = evenly(_without(concept), pairs)
    return (target.base.encode(with_it) - target.base.encode(without)).flatten(1).mean(0, keepdim=True)


def _without(concept: Concept) -> list[str]:
    """The templates with the concept's neighbours in the place of its noun; of a concept without any, its retain prompts."""
    if concept.neighbours:
        return [template.replace("{}", word) for template in concept.templates for word in concept.neighbours]
    retained = [prompt.text for prompt in concept.retain]
    return retained or [template.replace("{}", "thing") for template in concept.templates]
