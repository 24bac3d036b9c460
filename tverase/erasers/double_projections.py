"""Double projections: the concept's states become their projections on safe ones, in the null space of the retain set.

The first projection makes the target: c* = S (S^T S)^+ S^T c, the part of c in the safe subspace. The second keeps the change of
each key and value matrix W out of the retain set: with U2, the left null space of the retain states beyond their rank k,
and x = U2^T c,

    W' = W + W (c* - c) x^T / |x|^2 U2^T,   for many states W (C* - C) X^+ U2^T.

W' c = W c* if the columns of X are independent, and a retain state r moves by at most |W (C* - C) X^+| sigma_(k+1). Scaled here:
the safe subspace S is that of the empty caption's states, as the other closed forms lead there; the paper's list of safe
concepts and its k are not public. `rank` is the share of the largest singular value below which a direction counts as null,
of the retain states and of S; `noise` is that below which a direction of X does.
"""

import torch
from pydantic import Field
from torch import Tensor

from ..errors import ConfigError
from ..progress import Progress
from ..settings import Settings
from ..vector import TaskVector
from .base import Material
from .cross_attention import Prompts, States, changed, maps_of

PAPER = "Zhang et al., 2026, arXiv:2604.10032"


class DoubleProjections(Settings):
    """Which directions count as null."""

    rank: float = Field(default=0.02, gt=0, lt=1)
    noise: float = Field(default=0.1, gt=0, lt=1)
    prompts: Prompts = "tuning"

    def run(self, material: Material) -> TaskVector:
        """All concepts in one solution; one factor (D, D) serves all matrices."""
        weights, states = maps_of(material.model), States.of(material, self.prompts)
        free = beyond(torch.cat([states.retain.flatten(0, 1), states.null]), self.rank)
        step = self.step(states.forget, beyond(states.null, self.rank), free)
        material.tell(Progress("closed form of double-projections", 1, 1))
        return changed(material, {name: weight @ step for name, weight in weights.items()})

    def step(self, forget: Tensor, unsafe: Tensor, free: Tensor) -> Tensor:
        """(C* - C) X^+ U2^T (D, D), for forget (N, D), unsafe: the directions outside of S, and free = U2 (D, n)."""
        inverse: Tensor = torch.linalg.pinv(free.T @ forget.T, rtol=self.noise)
        return -(unsafe @ (unsafe.T @ forget.T)) @ inverse @ free.T


PLUGIN = DoubleProjections


def beyond(retain: Tensor, rank: float) -> Tensor:
    """U2: the left singular vectors of `retain` (R, D) below this share of the largest singular value, as columns (D, n)."""
    _, sizes, directions = torch.linalg.svd(torch.linalg.qr(retain, mode="r").R, full_matrices=True)
    full = torch.zeros(len(directions), dtype=sizes.dtype)
    full[: len(sizes)] = sizes
    free: Tensor = directions[full < rank * sizes.max()].T
    if not free.shape[1]:
        raise ConfigError(
            f"the retain states leave no direction free at rank = {rank:g}; raise rank, or give fewer retain prompts."
        )
    return free
