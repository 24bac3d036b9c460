"""Sign agreement: of several fine-tunes of one concept only that is kept on which all of them agree.

NegMerge (Kim, Han & Choe, 2024, arXiv:2410.05583): what the images teach has the same sign in every fine-tune, what the
seed brought along has not.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import KeyMismatch, WrongBase
from ..vector import TaskVector


def agree(vectors: Sequence[TaskVector]) -> TaskVector:
    """The mean of the changes whose signs agree in all vectors, zero elsewhere. Equal vectors give that vector.

    `WrongBase` if the vectors belong to different base weights, `KeyMismatch` if they do not have the same parameters.
    """
    if len(bases := sorted({vector.base[:12] for vector in vectors if vector.base})) > 1:
        raise WrongBase(f"task vectors of different bases cannot be merged: {', '.join(bases)}.")
    first = vectors[0].delta
    if odd := sorted({key for vector in vectors for key in vector.delta.keys() ^ first.keys()}):
        raise KeyMismatch(f"not all of the task vectors to be merged have {len(odd)} parameters: {', '.join(odd[:3])}.")
    if len(vectors) == 1:
        return vectors[0]
    return replace(vectors[0], delta={key: _agreed(torch.stack([v.delta[key] for v in vectors])) for key in first})


def _agreed(stack: Tensor) -> Tensor:
    """The mean is taken in float64, so that the mean of equal changes is that change, to the bit."""
    signs = stack.sign()
    return torch.where((signs == signs[0]).all(0), stack.double().mean(0).float(), 0.0)
