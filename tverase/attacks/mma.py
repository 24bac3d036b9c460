"""MMA-Diffusion, its text part: tokens without the concept's name whose encoding matches that of the concept's prompt.

Yang et al. (2023): 20 random tokens; each of 1,000 steps takes the gradient of 1 - cos(E(tokens), E(prompt)) for the
one-hot tokens, replaces one token by one of its best 256 candidates in 512 trials, and goes on from the best (greedy
coordinate gradient, Zou et al., 2023, arXiv:2307.15043). Sensitive words are no candidates. The best 5 prompts are drawn.

Here: E is all that the text encoder gives the denoiser; 8 tokens, 60 steps of 128 trials, 3 starts; the concept's noun is no
candidate. It needs no denoiser evaluation, and the same prompts are tried on every model.
"""

from collections.abc import Iterator
from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor

from ..concepts import evenly
from ..models.base import repeated
from ..settings import Settings
from .base import Finding, Target
from .discrete import Words

NAME = "mma"
PAPER = "Yang et al., 2023, arXiv:2311.17516"


class Mma(Settings):
    """How long it searches, and which words are no candidates."""

    adaptive: ClassVar[bool] = False
    input_kind: ClassVar[int] = 3

    tokens: PositiveInt = 8
    attempts: PositiveInt = 3  # names of the concept, one search each
    steps: PositiveInt = 60
    trials: PositiveInt = 128  # replacements in each step
    best: PositiveInt = 64  # candidates of each place
    banned: tuple[str, ...] | None = None  # texts whose tokens are no candidates; left out: the concept's noun

    def run(self, target: Target) -> Iterator[Finding]:
        """One finding for each name that gave a prompt."""
        banned = (target.concept.noun,) if self.banned is None else self.banned
        words, base = Words.of(NAME, target.base).without(banned), target.base
        for name in dict.fromkeys(evenly(target.concept.names, self.attempts)):
            *_, (found, _) = self.search(words, base.encode([name]).detach(), target.rng)
            for prompt in words.prompts(found[None]):
                yield Finding(repr(prompt), repeated(base.encode([prompt]), target.budget), text=(prompt,))

    def search(self, words: Words, aim: Tensor, rng: torch.Generator) -> Iterator[tuple[Tensor, float]]:
        """The best tokens (n,) so far after each step, and their 1 - cos to `aim` (1, ...); it never grows."""
        space, table = words.model.space("{}", self.tokens), words.table
        place = {int(token): number for number, token in enumerate(words.ids)}

        def far(embeddings: Tensor) -> Tensor:
            cond = space.cond(embeddings.flatten(1)).flatten(1)
            return 1 - torch.cosine_similarity(cond, aim.flatten(1), dim=1)

        tokens, least = words.random((self.tokens,), rng), float("inf")
        for _ in range(self.steps):
            rows = torch.tensor([place[int(token)] for token in tokens])
            hot = torch.nn.functional.one_hot(rows, len(table)).to(table).requires_grad_(True)
            (gradient,) = torch.autograd.grad(far((hot @ table)[None]).sum(), hot)
            likely = gradient.topk(min(self.best, len(table)), dim=1, largest=False).indices.cpu()
            where = torch.randint(self.tokens, (self.trials,), generator=rng)
            which = torch.randint(likely.shape[1], (self.trials,), generator=rng)
            tried = tokens.repeat(self.trials, 1)
            tried[torch.arange(self.trials), where] = words.ids[likely[where, which]]
            tried = torch.cat([tokens[None], tried])
            with torch.no_grad():
                distance = far(words.embeddings(tried)).cpu()
            tokens, least = tried[int(distance.argmin())], float(distance.min())
            yield tokens, least


PLUGIN = Mma
