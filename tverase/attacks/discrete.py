"""What discrete attacks share: tokens that can be typed, prompts that encode back, projections, and what a prompt draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from ..complexity import Halving, search_worst
from ..errors import ConfigError, NumericalError
from ..losses import random_timesteps
from ..models.base import Model
from ..noise import NoiseProcess
from .base import Finding, Target
from .directions import Counter

CHUNK = 256  # most noised images in one forward pass
PART = 4096  # most prompts that are encoded or drawn at once
LISTED = 100_000  # most rows that are decoded at once
NEEDED = ("tokenizer", "token_embedding", "encode_tokens")


@dataclass(frozen=True)
class Words:
    """The tokens of a model that can be typed: the text of each encodes to this token alone.

    Tokens that are pieces of words merge with their neighbours when text is encoded. A search among tokens that can be
    typed ends with a prompt.

    model: the model whose tokenizer and text encoder are used. ids: the tokens (W,), long.
    """

    model: Any
    ids: Tensor

    @classmethod
    def of(cls, name: str, *models: Model) -> Self:
        """The words of the first of the models that has any; `ConfigError` if none has."""
        model: Any = next((m for m in models if all(hasattr(m, part) for part in NEEDED)), None)
        if model is None:
            raise ConfigError(
                f"the attack {name} searches tokens, and {type(models[-1]).__name__} has no tokenizer; expected a "
                "text-to-image model with one text encoder; leave the attack out, or choose another of "
                "`tverase list attacks`."
            )
        every = ordinary(model.tokenizer)[:, None]
        _, kept = spoken(model.tokenizer, every)
        return cls(model, every[kept, 0])

    @cached_property
    def table(self) -> Tensor:
        """The embeddings of the words (W, E)."""
        return self.embeddings(self.ids)

    @cached_property
    def directions(self) -> Tensor:
        """The embeddings at length one (W, E)."""
        return torch.nn.functional.normalize(self.table, dim=1)

    def embeddings(self, ids: Tensor) -> Tensor:
        """The embeddings of tokens (...,), (..., E)."""
        table: Tensor = self.model.token_embedding.weight.detach()
        return table[ids.to(table.device)].float()

    def random(self, shape: Sequence[int], rng: torch.Generator) -> Tensor:
        """Random words as token ids, of this shape."""
        return self.ids[torch.randint(len(self.ids), tuple(shape), generator=rng)]

    def nearest(self, points: Tensor) -> Tensor:
        """The words with the highest cosine to `points` (..., E), as token ids (...,)."""
        return self.ids[(points @ self.directions.T).argmax(-1).cpu()]

    def prompts(self, ids: Tensor, template: str = "{}") -> list[str]:
        """The texts of rows of tokens (K, n) in a template, each once; rows that no text encodes to are dropped."""
        texts, kept = spoken(self.model.tokenizer, ids, template)
        return list(dict.fromkeys(text for text, fine in zip(texts, kept.tolist(), strict=True) if fine))

    def without(self, banned: Sequence[str]) -> Self:
        """The words without the tokens of these texts."""
        out = {token for text in banned for token in self.model.tokenizer(text, add_special_tokens=False).input_ids}
        return type(self)(self.model, torch.tensor([token for token in self.ids.tolist() if token not in out]))


def ordinary(tokenizer: Any) -> Tensor:
    """All token ids but the special ones (V,)."""
    special = set(tokenizer.all_special_ids)
    return torch.tensor([token for token in range(len(tokenizer)) if token not in special])


def spoken(tokenizer: Any, ids: Tensor, template: str = "{}") -> tuple[list[str], Tensor]:
    """The text of each row of tokens (K, n) in the template, and whether it is printable and encodes to these tokens (K,)."""
    before, after = template.split("{}")
    head, tail = (
        tokenizer(part.strip(), add_special_tokens=False).input_ids if part.strip() else [] for part in (before, after)
    )
    room = tokenizer.model_max_length - 2
    texts: list[str] = []
    kept: list[bool] = []
    for part in torch.split(ids, LISTED):
        rows = part.tolist()
        decoded = [before + text.strip() + after for text in tokenizer.batch_decode(rows)]
        again = tokenizer(decoded, add_special_tokens=False, verbose=False).input_ids if rows else []
        wanted = [[*head, *row, *tail] for row in rows]
        texts += decoded
        kept += [
            text.isprintable() and found == asked and len(found) <= room
            for text, found, asked in zip(decoded, again, wanted, strict=True)
        ]
    return texts, torch.tensor(kept, dtype=torch.bool)


def on_simplex(rows: Tensor) -> Tensor:
    """The nearest points of the probability simplex (..., V), by bisection: max(x - mu, 0) with a sum of one."""
    high = rows.amax(-1, keepdim=True)
    low = high - 1
    for _ in range(50):
        middle = (low + high) / 2
        above = (rows - middle).clamp(min=0).sum(-1, keepdim=True) > 1
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    found: Tensor = (rows - high).clamp(min=0)
    return found / found.sum(-1, keepdim=True)


@dataclass(frozen=True)
class Noised:
    """Noised images (n, ...) and what the denoiser should answer: the same for all prompts, so that losses compare."""

    images: Tensor
    timesteps: Tensor
    aim: Tensor

    @classmethod
    def of(cls, process: NoiseProcess, clean: Tensor, timesteps: Tensor, rng: torch.Generator) -> Self:
        """Clean latents (n, ...) with fresh noise at timesteps (n,)."""
        noise = torch.randn(clean.shape, generator=rng).to(clean.device)
        timesteps = timesteps.to(clean.device)
        return cls(process.corrupt(clean, timesteps, noise), timesteps, process.target(clean, timesteps, noise))

    @classmethod
    def drawn(cls, model: Model, latents: Tensor, count: int, span: tuple[float, float], rng: torch.Generator) -> Self:
        """`count` of the latents (N, ...) at random, at timesteps spread over the part `span` of all."""
        clean = latents[torch.randint(len(latents), (count,), generator=rng).to(latents.device)]
        return cls.of(model.noise, clean, random_timesteps(count, model.noise.timesteps, rng, span), rng)

    def losses(self, model: Model, cond: Tensor) -> Tensor:
        """The mean squared error of the model's answers for each conditioning (K, ...), (K,); differentiable in it."""
        count = len(self.images)
        parts = []
        for some in torch.split(cond, max(1, CHUNK // count)):
            images = self.images.repeat(len(some), *[1] * (self.images.dim() - 1))
            answer = model.denoise(images, self.timesteps.repeat(len(some)), some.repeat_interleave(count, 0))
            error = (answer.reshape(len(some), count, -1) - self.aim.flatten(1)[None]).square()
            parts.append(error.mean((1, 2)))
        return torch.cat(parts)

    @torch.no_grad()
    def of_prompts(self, model: Model, prompts: Sequence[str]) -> Tensor:
        """The loss of each prompt, on the CPU (K,)."""
        several = [prompts[i : i + PART] for i in range(0, len(prompts), PART)]
        return torch.cat([self.losses(model, model.encode(some)).cpu() for some in several])


def backward(losses: Tensor, name: str) -> None:
    """The gradient of the sum of losses; a `NumericalError` if one is not a number."""
    if not bool(losses.isfinite().all()):
        raise NumericalError(
            f"a loss of the attack {name} is not finite; lower its `lr`, or check the attacked weights."
        )
    torch.autograd.backward(losses.sum())


@dataclass(frozen=True)
class Asked:
    """Prompts as the inputs of a `Counter`: a point is the number of a prompt."""

    model: Model
    prompts: Sequence[str]

    def cond(self, points: Tensor) -> Tensor:
        """The conditionings of the prompts with these numbers (K, 1)."""
        return self.model.encode([self.prompts[int(number)] for number in points.flatten()])


def worst(target: Target, name: str, prompts: Sequence[str], halving: Halving) -> Finding:
    """The prompt that draws the concept most, by successive halving; among equals the first one."""
    if target.judge is None or target.sampling is None:
        raise ConfigError(f"the attack {name} counts what it sees; give its target a judge and how to sample.")
    seed = int(torch.randint(2**40, (), generator=target.rng))
    asked = Asked(target.model, prompts)
    counter = Counter(target.model, asked, target.judge, target.concept.label, target.sampling, seed)

    def count(points: Tensor, images: int, purpose: str) -> Tensor:
        parts = enumerate(torch.split(points, max(1, PART // images)))
        return torch.cat([counter.count(part, images, f"{purpose}/{number}") for number, part in parts])

    found = search_worst(count, torch.arange(len(prompts))[:, None], halving, name)
    return as_finding(target.model, prompts[int(found.point[0])])


def as_finding(model: Model, prompt: str, name: str = "", kind: str = "") -> Finding:
    """A prompt as a finding; without a name it is called by its text."""
    return Finding(name or repr(prompt), model.encode([prompt]), kind, text=(prompt,))
