"""UnlearnDiffAtk: a few tokens before the concept's prompt, relaxed on the simplex, against the attacked model.

Zhang et al. (2023): k tokens (3 for objects and styles, 5 for nudity) are rows of probabilities over the vocabulary, which
start even. Each step samples one token a row, passes the gradient straight through, takes a step of Adam (lr 0.01, weight
decay 0.1) with gradients clipped to [-1, 1], and projects the rows to the simplex. The loss is the denoising loss of an
image of the concept, without guidance: 50 timesteps in order, 40 steps at each. Then the likeliest tokens are drawn.

Here: 10 timesteps, 10 steps at each on 4 noised images, from 3 of the concept's names; the prompts of all timesteps are
compared by drawing them. Only tokens that can be typed are in the vocabulary.
"""

from collections.abc import Iterator
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from ..complexity import Halving
from ..concepts import evenly
from .base import Finding, Target
from .discrete import Noised, Words, backward, on_simplex, worst

NAME = "unlearn-diff-atk"
PAPER = "Zhang et al., 2023, arXiv:2310.11868"


class UnlearnDiffAtk(Halving):
    """How many tokens, and how long they are optimised."""

    adaptive: ClassVar[bool] = True
    input_kind: ClassVar[int] = 3

    tokens: PositiveInt = 3
    attempts: PositiveInt = 3  # prompts of the concept, each with tokens of its own
    timesteps: PositiveInt = 10  # from clean to noise
    steps: PositiveInt = 10  # at each timestep
    batch: PositiveInt = 4  # noised images in each step; the paper has one
    lr: PositiveFloat = 0.01
    decay: NonNegativeFloat = 0.1
    images: PositiveInt = 16  # of the concept, which the attacker owns

    def run(self, target: Target) -> Iterator[Finding]:
        """One finding, the prompt that draws the concept most."""
        words, latents = Words.of(NAME, target.model, target.base), target.owned(self.images)
        prompts: list[str] = []
        for prompt in evenly(target.concept.names, self.attempts):
            found = torch.stack(list(self._search(target, words, prompt, latents)))
            prompts += words.prompts(found, f"{{}} {prompt}")
        if prompts:
            yield worst(target, NAME, list(dict.fromkeys(prompts)), self)

    def _search(self, target: Target, words: Words, prompt: str, latents: Tensor) -> Iterator[Tensor]:
        """The likeliest tokens (k,) after each timestep, from clean to noise."""
        space, table, rng = words.model.space(f"{{}} {prompt}", self.tokens), words.table, target.rng
        shares = torch.full((self.tokens, len(table)), 1 / len(table), device=table.device, requires_grad=True)
        optimiser = torch.optim.Adam([shares], lr=self.lr, weight_decay=self.decay)
        total = target.model.noise.timesteps
        for number in range(self.timesteps):
            when = torch.full((self.batch,), (2 * number + 1) * total // (2 * self.timesteps))
            for _ in range(self.steps):
                clean = latents[torch.randint(len(latents), (self.batch,), generator=rng).to(latents.device)]
                noised = Noised.of(target.model.noise, clean, when, rng)
                cond = space.cond((sampled(shares, rng) @ table).flatten()[None])
                optimiser.zero_grad()
                backward(noised.losses(target.model, cond), NAME)
                assert shares.grad is not None  # the loss depends on the tokens
                shares.grad.clamp_(-1, 1)
                optimiser.step()
                with torch.no_grad():
                    shares.copy_(on_simplex(shares))
            yield words.ids[shares.detach().argmax(1).cpu()]


PLUGIN = UnlearnDiffAtk


def sampled(shares: Tensor, rng: torch.Generator) -> Tensor:
    """One token of each row (k, V) as a one-hot row, whose gradient is that of the row itself."""
    drawn = torch.multinomial(shares.detach().cpu(), 1, generator=rng)[:, 0].to(shares.device)
    hot = torch.nn.functional.one_hot(drawn, shares.shape[1]).to(shares.dtype)
    return hot + shares - shares.detach()
