"""TIES: of vectors that pull a parameter to different sides, the stronger side wins and the other is left out.

Yadav et al., 2023, arXiv:2306.01708: trim, elect a sign, merge disjointly. Trimming is `magnitude`; the other two steps are here.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..vector import TaskVector
from .stacked import changed, mean_of, merged, stacked


def elect(vectors: Mapping[str, TaskVector]) -> dict[str, TaskVector]:
    """Each vector with zeros where its sign is not that of the sum of all; one vector is as it was.

    Their sum is the paper's merge with the sum for its mean, and that is the point: where nothing is in conflict, it is the
    plain sum, so that a strength means the same for both. Changes that cancel out are zero in all.
    """
    names = list(vectors)
    deltas: dict[str, dict[str, Tensor]] = {name: {} for name in names}
    for key, stack in stacked(list(vectors.values())):
        for name, change in zip(names, _elected(stack), strict=True):
            deltas[name][key] = change
    return {name: changed(vectors[name], deltas[name]) for name in names}


def disjoint_mean(vectors: Sequence[TaskVector]) -> TaskVector:
    """The mean of the changes on the elected side, not counting the others and zeros: for copies of one concept."""
    return merged(vectors, _disjoint_mean)


def _elected(stack: Tensor) -> Tensor:
    """(n, ...) with zeros where the sign is not that of the sum."""
    return torch.where(stack.sign() == stack.double().sum(0).sign(), stack, 0.0)


def _disjoint_mean(stack: Tensor) -> Tensor:
    kept = _elected(stack)
    return mean_of(kept, (kept != 0).sum(0).clamp(min=1))
