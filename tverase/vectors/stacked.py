"""Several vectors side by side, parameter by parameter: what every way to merge them needs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import KeyMismatch, WrongBase
from ..vector import StateDict, TaskVector


def merged(vectors: Sequence[TaskVector], rule: Callable[[Tensor], Tensor]) -> TaskVector:
    """One vector, each parameter by `rule` from the changes of all (n, ...); where there is one vector, it is that."""
    if len(vectors) == 1:
        return vectors[0]
    return changed(vectors[0], {key: rule(stack) for key, stack in stacked(vectors)})


def stacked(vectors: Sequence[TaskVector]) -> Iterator[tuple[str, Tensor]]:
    """(parameter, its n changes (n, ...)) for each parameter.

    `WrongBase` if the vectors belong to different base weights, `KeyMismatch` if they do not have the same parameters.
    """
    if len(bases := sorted({vector.base[:12] for vector in vectors if vector.base})) > 1:
        raise WrongBase(f"task vectors of different bases cannot be merged: {', '.join(bases)}.")
    first = vectors[0].delta
    if odd := sorted({key for vector in vectors for key in vector.delta.keys() ^ first.keys()}):
        raise KeyMismatch(f"not all of the task vectors to be merged have {len(odd)} parameters: {', '.join(odd[:3])}.")
    for key in first:
        yield key, torch.stack([vector.delta[key] for vector in vectors])


def changed(vector: TaskVector, delta: StateDict) -> TaskVector:
    """The vector with other changes; its base and its notes stay."""
    return replace(vector, delta=delta)


def mean_of(stack: Tensor, count: int | Tensor) -> Tensor:
    """The sum of (n, ...) over n, divided by `count` in float64: the mean of equal changes is that change, to the bit."""
    return (stack.double().sum(0) / count).float()
