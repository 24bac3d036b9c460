"""Every single token of the vocabulary, and on demand every pair, by successive halving.

No paper enumerates a vocabulary, because that of CLIP is large; a small one can be tried as a whole. All tokens whose text
encodes to themselves are tried in the concept's own template; special tokens and pieces that text cannot say are left out.
Each is drawn `first` times, and those that draw the concept get more images. More inputs than `drawn` are compared first by
the denoising loss on images of the concept, one evaluation each. Budget: 700 images for the 335 words of the embedded model;
all its pairs need one evaluation each and then 1,000 images.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt, field_validator

from ..complexity import Halving
from .base import Finding, Target
from .discrete import Noised, Words, ordinary, worst

NAME = "vocabulary"
PAPER = "halving after Karnin et al., 2013"
KINDS = {1: "single tokens", 2: "pairs of tokens"}


class Vocabulary(Halving):
    """How many tokens side by side, and how many inputs are tried before it becomes a sample."""

    adaptive: ClassVar[bool] = True
    input_kind: ClassVar[int] = 2

    first: PositiveInt = 1
    length: Literal[1, 2] = 1  # 2: the pairs as well, as a finding of their own
    template: str = ""  # the prompt around them, with {} in their place; empty: the concept's own
    most: PositiveInt = 200_000  # of more inputs, so many are tried at random
    drawn: PositiveInt = 512  # of more inputs, the likeliest so many are drawn
    looks: PositiveInt = 1  # noised images of the concept that say which these are
    noise: tuple[float, float] = (0.6, 0.9)  # the part of the timesteps that they are from
    images: PositiveInt = 8  # of the concept, which the attacker owns

    @field_validator("template")
    @classmethod
    def _one_place(cls, template: str) -> str:
        if template and template.count("{}") != 1:
            raise ValueError("the template needs {} exactly once, as in 'a photo of {}'")
        return template

    def run(self, target: Target) -> Iterator[Finding]:
        """One finding for each length: the worst input of this length."""
        words, template = Words.of(NAME, target.model, target.base), self.template or target.concept.template
        for length in range(1, self.length + 1):
            prompts, about = self._listed(words, length, template, target.rng)
            if prompts:
                tried = len(prompts)
                found = worst(target, NAME, self._likeliest(target, prompts), self)
                yield replace(found, name=f"{found.name}, the worst of {tried:,} {about}", kind=KINDS[length])

    def _listed(self, words: Words, length: int, template: str, rng: torch.Generator) -> tuple[list[str], str]:
        """The prompts that are tried, and what they are in words."""
        every = ordinary(words.model.tokenizer)
        if length == 1:
            ids = words.ids[:, None]
        elif len(every) ** 2 <= 10 * self.most:
            ids = torch.cartesian_prod(every, every)
        else:  # words stay themselves side by side, so that hardly any of these are dropped
            ids = torch.unique(words.random((self.most, 2), rng), dim=0)
            return words.prompts(ids, template), f"{KINDS[length]}, a sample of {len(words.ids) ** 2:,}"
        prompts = words.prompts(ids, template)
        if len(prompts) <= self.most:
            return prompts, f"{KINDS[length]}, all that can be typed"
        some = torch.randperm(len(prompts), generator=rng)[: self.most]
        return [prompts[i] for i in some.tolist()], f"{KINDS[length]}, a sample of {len(prompts):,}"

    def _likeliest(self, target: Target, prompts: list[str]) -> list[str]:
        """Those that are drawn, the likeliest first if not all are."""
        if len(prompts) <= self.drawn:
            return prompts
        noised = Noised.drawn(target.model, target.owned(self.images), self.looks, self.noise, target.rng)
        order = torch.argsort(noised.of_prompts(target.model, prompts), stable=True)
        return [prompts[i] for i in order[: self.drawn].tolist()]


PLUGIN = Vocabulary
