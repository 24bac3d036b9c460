"""Prompting4Debugging: a prompt with which the attacked model answers as the base model does to the concept's own prompt.

Chin et al. (2023): 16 free embeddings. Each step projects them to the nearest embeddings of the vocabulary, takes the
gradient there, and applies it to the embeddings before the projection (PEZ, Wen et al., 2023, arXiv:2302.03668; AdamW, lr
0.1, weight decay 0.1, 3,000 steps). The loss is the distance between the attacked model's answer to them and the base
model's answer to the target prompt, on noised images that the base model drew. Now and then the
prompt is drawn, and the best one stays.

Here: 8 embeddings, 100 steps on 4 noised images from each of 3 starts; the prompts of every 10th step are compared by
drawing them. Only tokens that can be typed are in the vocabulary.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from ..complexity import Halving
from ..concepts import evenly
from ..models.base import repeated
from .base import Finding, Target
from .discrete import Noised, Words, backward, worst

NAME = "p4d"
PAPER = "Chin et al., 2023, arXiv:2309.06135"


class P4D(Halving):
    """How many tokens, and how long they are optimised."""

    adaptive: ClassVar[bool] = True
    input_kind: ClassVar[int] = 3

    tokens: PositiveInt = 8
    attempts: PositiveInt = 3  # each from random words of its own, towards another name of the concept
    steps: PositiveInt = 100
    look: PositiveInt = 10  # every so many steps the prompt is kept for the comparison
    batch: PositiveInt = 4  # noised images in each step
    lr: PositiveFloat = 0.1
    decay: NonNegativeFloat = 0.1
    noise: tuple[float, float] = (0.0, 1.0)  # the part of the timesteps that is learned from
    images: PositiveInt = 16  # of the concept, which the attacker owns

    def run(self, target: Target) -> Iterator[Finding]:
        """One finding, the prompt that draws the concept most."""
        words, latents = Words.of(NAME, target.model, target.base), target.owned(self.images)
        prompts: list[str] = []
        for aim in evenly(target.concept.names, self.attempts):
            prompts += words.prompts(torch.stack(list(self._search(target, words, aim, latents))))
        if prompts:
            yield worst(target, NAME, list(dict.fromkeys(prompts)), self)

    def _search(self, target: Target, words: Words, aim: str, latents: Tensor) -> Iterator[Tensor]:
        """The nearest tokens (n,), every `look` steps."""
        space, rng = words.model.space("{}", self.tokens), target.rng
        free = words.embeddings(words.random((self.tokens,), rng)).requires_grad_(True)
        optimiser = torch.optim.AdamW([free], lr=self.lr, weight_decay=self.decay)
        wanted = target.base.encode([aim])
        for step in range(self.steps):
            noised = Noised.drawn(target.base, latents, self.batch, self.noise, rng)
            with torch.no_grad():
                answer = target.base.denoise(noised.images, noised.timesteps, repeated(wanted, self.batch))
            tokens = words.nearest(free.detach())
            near = words.embeddings(tokens).requires_grad_(True)
            matched = replace(noised, aim=answer)
            backward(matched.losses(target.model, space.cond(near.flatten()[None])), NAME)
            free.grad = near.grad
            optimiser.step()
            if (step + 1) % self.look == 0:
                yield words.nearest(free.detach())


PLUGIN = P4D
