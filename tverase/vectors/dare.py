"""DARE: most changes of a task vector are dropped at random, and the rest is scaled up (Yu et al., 2023, arXiv:2311.03099)."""

import torch

from ..rng import generator
from ..vector import TaskVector
from .stacked import changed


def dare(vector: TaskVector, keep: float, seed: int, purpose: str) -> TaskVector:
    """Each change is kept with probability `keep` and divided by it, else zero: on average the vector is as it was.

    Every parameter has noise of its own, so that what is dropped in one does not depend on which others there are.
    """
    delta = {}
    for key, change in vector.delta.items():
        kept = torch.rand(change.shape, generator=generator(seed, f"{purpose}/{key}")) < keep
        delta[key] = torch.where(kept.to(change.device), change / keep, 0.0)
    return changed(vector, delta)
