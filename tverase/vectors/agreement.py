"""Sign agreement: of several fine-tunes of one concept only that is kept on which all of them agree.

NegMerge (Kim, Han & Choe, 2024, arXiv:2410.05583): what the images teach has the same sign in every fine-tune, what the
seed or the learning rate brought along has not.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..vector import TaskVector
from .stacked import mean_of, merged


def agree(vectors: Sequence[TaskVector]) -> TaskVector:
    """The mean of the changes whose signs agree in all vectors, zero elsewhere. Equal vectors give that vector."""
    return merged(vectors, _agreed)


def mean(vectors: Sequence[TaskVector]) -> TaskVector:
    """The plain mean, what agreement has to be better than (model soups, Wortsman et al., 2022, arXiv:2203.05482)."""
    return merged(vectors, lambda stack: mean_of(stack, len(stack)))


def _agreed(stack: Tensor) -> Tensor:
    signs = stack.sign()
    return torch.where((signs == signs[0]).all(0), mean_of(stack, len(stack)), 0.0)
