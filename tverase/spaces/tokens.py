"""The input space of a text encoder's words: a point is the embeddings of a prompt's free tokens, one or more."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import ConfigError
from . import cone

FREE = "{}"


class TokenModel(Protocol):
    """A model whose text encoder takes free embeddings."""

    @property
    def tokenizer(self) -> Any:
        """A tokenizer of transformers."""
        ...

    @property
    def token_embedding(self) -> Any:
        """The table of word embeddings, weight (V, E)."""
        ...

    def encode_tokens(self, tokens: Tensor, places: slice, points: Tensor) -> Tensor:
        """Conditionings of `tokens` (T,) with the embeddings at `places` replaced by each row of `points` (K, m, E)."""
        ...


@dataclass(frozen=True)
class TokenSpace:
    """Embeddings (K, m * E) in a template, `a {}`, in place of a word: m tokens side by side."""

    model: TokenModel
    template: str = "a {}"
    tokens: int = 1

    def __post_init__(self) -> None:
        if self.template.count(FREE) != 1:
            raise ConfigError(f"the template {self.template!r} has to hold {FREE} exactly once, as in 'a {FREE}'.")

    def anchor(self, noun: str) -> Tensor:
        """The words of `noun` if there are as many as free tokens, else their mean in every place (m * E,)."""
        tokens = self.model.tokenizer(noun, add_special_tokens=False).input_ids
        table: Tensor = self.model.token_embedding.weight
        words = table[torch.tensor(tokens, device=table.device)].detach()
        return words.flatten() if len(words) == self.tokens else words.mean(0).repeat(self.tokens)

    def start(self, anchor: Tensor, low: Tensor, high: Tensor, rng: torch.Generator) -> Tensor:
        """Random points, one for each bin, as long as m of the vocabulary's median embeddings in a row (K, m * E)."""
        length = self.model.token_embedding.weight.detach().norm(dim=1).median().item() * self.tokens**0.5
        return cone.scatter(anchor.cpu(), low, high, length, rng).to(anchor.device)

    def stretched(self, points: Tensor, factors: Tensor) -> Tensor:
        """The embeddings at `factors` (K, 1) times their length: an embedding grows as it is learned."""
        return points * factors.to(points.device)

    def anywhere(self, count: int, rng: torch.Generator) -> Tensor:
        """None (0, m * E): embeddings have any length."""
        table: Tensor = self.model.token_embedding.weight
        return table.new_zeros(0, table.shape[1] * self.tokens)

    def cond(self, points: Tensor) -> Tensor:
        """The text encoder's states for each point in the template (K, ...), differentiable in `points`."""
        tokens, place = self._layout()
        return self.model.encode_tokens(tokens, slice(place, place + self.tokens), self.words(points))

    def words(self, points: Tensor) -> Tensor:
        """Each point's embeddings, token by token (K, m, E)."""
        return points.reshape(len(points), self.tokens, -1)

    def _layout(self) -> tuple[Tensor, int]:
        """Token ids of the template with placeholders (T,), and the place of the first one."""
        tokenizer = self.model.tokenizer
        before, after = self.template.split(FREE)
        head = tokenizer(before.strip(), add_special_tokens=False).input_ids if before.strip() else []
        tail = tokenizer(after.strip(), add_special_tokens=False).input_ids if after.strip() else []
        # Not the end token: a text encoder with a pooled output takes it from the first one.
        free = [tokenizer.bos_token_id] * self.tokens
        ids = [tokenizer.bos_token_id, *head, *free, *tail, tokenizer.eos_token_id]
        room = tokenizer.model_max_length
        if len(ids) > room:
            raise ConfigError(
                f"the template {self.template!r} with {self.tokens} free tokens is longer than the {room} that fit; "
                "shorten it, or lower `invert.tokens`."
            )
        padding = [tokenizer.pad_token_id] * (room - len(ids))
        return torch.tensor(ids + padding), 1 + len(head)
