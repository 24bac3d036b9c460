"""The input space of a text encoder's words: a point is the embedding of one free token in a prompt."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConfigError
from ..models.text2image import TextToImage
from . import cone

FREE = "{}"


@dataclass(frozen=True)
class TokenSpace:
    """Embeddings (K, E) that stand in a template, `a {}`, in place of a word."""

    model: TextToImage
    template: str = "a {}"

    def __post_init__(self) -> None:
        if self.template.count(FREE) != 1:
            raise ConfigError(f"the template {self.template!r} has to hold {FREE} exactly once, as in 'a {FREE}'.")

    def anchor(self, noun: str) -> Tensor:
        """The mean embedding of the words of `noun` (E,)."""
        tokens = self.model.tokenizer(noun, add_special_tokens=False).input_ids
        table: Tensor = self.model.token_embedding.weight
        return table[torch.tensor(tokens, device=table.device)].detach().mean(0)

    def start(self, anchor: Tensor, low: Tensor, high: Tensor, rng: torch.Generator) -> Tensor:
        """Random points, one for each bin, as long as the vocabulary's median embedding (K, E)."""
        length = self.model.token_embedding.weight.detach().norm(dim=1).median().item()
        return cone.scatter(anchor.cpu(), low, high, length, rng).to(anchor.device)

    def cond(self, points: Tensor) -> Tensor:
        """The text encoder's states for each point in the template (K, T, D), differentiable in `points`."""
        tokens, place = self._layout()
        return self.model.encode_tokens(tokens, slice(place, place + 1), points)

    def _layout(self) -> tuple[Tensor, int]:
        """Token ids of the template with a stand-in (T,), and where the stand-in is."""
        tokenizer = self.model.tokenizer
        before, after = self.template.split(FREE)
        head = tokenizer(before.strip(), add_special_tokens=False).input_ids if before.strip() else []
        tail = tokenizer(after.strip(), add_special_tokens=False).input_ids if after.strip() else []
        ids = [tokenizer.bos_token_id, *head, tokenizer.eos_token_id, *tail, tokenizer.eos_token_id]
        room = tokenizer.model_max_length
        if len(ids) > room:
            raise ConfigError(f"the template {self.template!r} is longer than the {room} tokens that fit.")
        padding = [tokenizer.pad_token_id] * (room - len(ids))
        return torch.tensor(ids + padding), 1 + len(head)
