"""What the adapters of text-to-image models share: token numbers, and free embeddings in a prompt."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


def token_ids(tokenizer: Any, prompts: Sequence[str]) -> Tensor:
    """Token numbers of the prompts, padded to the tokenizer's length (B, T)."""
    ids: Tensor = tokenizer(
        list(prompts),
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    return ids


def overflow(tokenizer: Any, prompts: Sequence[str]) -> list[tuple[str, int]]:
    """The prompts that are too long for the text encoder, each with how many of its tokens would be cut off."""
    whole = tokenizer(list(prompts), truncation=False, verbose=False).input_ids
    lost = [len(ids) - tokenizer.model_max_length for ids in whole]
    return [(prompt, count) for prompt, count in zip(prompts, lost, strict=True) if count > 0]


@contextmanager
def embeddings_replaced(table: Any, places: slice, points: Tensor) -> Iterator[None]:
    """Inside the block the answer of `table`, an embedding, holds `points` (K, m, E) at `places`."""

    def hook(_module: Any, _given: Any, answer: Tensor) -> Tensor:
        return torch.cat([answer[:, : places.start], points, answer[:, places.stop :]], 1)

    handle = table.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
