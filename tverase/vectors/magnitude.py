"""Magnitude pruning: the small changes of a task vector are mostly noise of its training.

The trimming of TIES (Yadav et al., 2023, arXiv:2306.01708), there over all parameters at once, here in each by itself: no layer
is emptied because another one has a larger scale, and to prune and then choose layers is to choose and then prune.
"""

import torch
from torch import Tensor

from ..vector import TaskVector
from .stacked import changed


def magnitude(vector: TaskVector, keep: float) -> TaskVector:
    """The share `keep` of each parameter whose changes are largest, at least one; the others are zero.

    Of equal changes the first ones stay, so that the count is exact: numel * keep, rounded.
    """
    return changed(vector, {key: _largest(change, keep) for key, change in vector.delta.items()})


def _largest(change: Tensor, keep: float) -> Tensor:
    flat = change.flatten()
    count = max(1, round(keep * len(flat)))
    kept = flat.abs().sort(descending=True, stable=True).indices[:count]
    return torch.zeros_like(flat).index_copy(0, kept, flat[kept]).view_as(change)
