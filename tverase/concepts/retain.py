"""The retain set: the prompts of one or several concepts that the model must keep, in two halves."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import torch

from ..errors import ConfigError
from .base import Concept, Prompt, mentions

T = TypeVar("T")


def joint(concepts: Sequence[Concept]) -> tuple[Prompt, ...]:
    """The retain prompts of all concepts, each text once, without those that belong to one of the concepts.

    If nothing is left, the reserves take their place; a `ConfigError` if nothing is left of these either.
    """
    for prompts in ((c.retain for c in concepts), (c.reserve for c in concepts)):
        if found := _union(prompts, concepts):
            return found
    listed = ", ".join(concept.name for concept in concepts)
    raise ConfigError(
        f"nothing is left that the model must keep when {listed} are erased; erase fewer concepts, or give a concept "
        "file with `retain` prompts that belong to none of them."
    )


def halves(concepts: Sequence[Concept]) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...]]:
    """The joint retain set in two halves: the first tunes everything, the second is scored and nothing else."""
    every = joint(concepts)
    return tuple(p for p in every if p.role != "report"), tuple(p for p in every if p.role != "tune")


def _union(sets: Iterable[tuple[Prompt, ...]], concepts: Sequence[Concept]) -> tuple[Prompt, ...]:
    gone = {concept.label for concept in concepts}
    found: dict[str, Prompt] = {}
    for own, prompts in zip(concepts, sets, strict=True):
        others = [concept for concept in concepts if concept is not own]
        for prompt in prompts:
            if gone.intersection(prompt.labels):
                continue
            if prompt.labels or not any(mentions(prompt.text, other) for other in others):
                found.setdefault(prompt.text, prompt)
    return tuple(found.values())


def divided(prompts: Sequence[Prompt]) -> tuple[Prompt, ...]:
    """The prompts with a role each, half of them `tune` and half `report`, whatever their order.

    Prompts of the same labels are split evenly, in the order of a hash of their texts.
    """
    groups: dict[tuple[str, ...], list[Prompt]] = {}
    for prompt in sorted(prompts, key=lambda p: hashlib.sha256(p.text.encode()).digest()):
        groups.setdefault(prompt.labels, []).append(prompt)
    order = [prompt.text for labels in sorted(groups) for prompt in groups[labels]]
    tuning = set(order[::2])
    return tuple(replace(p, role="tune" if p.text in tuning else "report") for p in prompts)


def spread(prompts: Sequence[Prompt], count: int, rng: torch.Generator) -> tuple[Prompt, ...]:
    """`count` of the prompts in a random order, each of them equally often give or take one."""
    order = torch.randperm(len(prompts), generator=rng).tolist()
    return tuple(prompts[order[i % len(order)]] for i in range(count))


def evenly(items: Sequence[T], count: int) -> list[T]:
    """`count` of the items in their order, spread evenly over all."""
    return [items[i * len(items) // count] for i in range(count)]
