"""SPEED: cross-attention's values of the concept move in the null space of the retain set.

For each value matrix W the change is D P, where P projects onto the directions in which the retain states' second moment is
below `threshold`. D P minimises |(W + D P) C - W C*|^2 + ridge * |D P|^2 and leaves the empty caption exactly as it is:

    D P = W (C* C^T - C C^T) P (I - M K (K^T P M K)^-1 K^T P) M,   M = (C C^T P + ridge * I)^-1

with the concept's states C, their targets C* and K: the first state of the empty caption and the three k-means centres of
its others. The retain states are filtered and augmented for each matrix: only those stay that the change without P would move
more than the mean, and `copies` noisy copies of each follow along the weakest right singular direction of W, filtered alike.
Defaults of the authors' code: threshold 0.1, ridge 1 (0.05 for many concepts), 10 copies, values only. Scaled here: the
retain states are all states of the retain prompts, not the last words of a list of names; the concept has all of its own
states, as in the authors' code for nudity.
"""

from dataclasses import dataclass

import torch
from pydantic import NonNegativeInt, PositiveFloat
from torch import Tensor

from ..errors import ConfigError
from ..progress import Progress
from ..rng import generator
from ..settings import Settings
from ..vector import TaskVector
from .base import Material
from .cross_attention import BOTH, Prompts, States, changed, maps_of, moment

PAPER = "Li et al., 2025, arXiv:2503.07392"
CENTRES = 3


class Speed(Settings):
    """How large the null space is, and how far its retain set is augmented."""

    threshold: PositiveFloat = 0.1
    ridge: PositiveFloat = 1.0
    copies: NonNegativeInt = 10
    keys: bool = False  # also the keys
    prompts: Prompts = "tuning"

    def run(self, material: Material) -> TaskVector:
        """One solution for each matrix, all concepts in it."""
        weights = maps_of(material.model, BOTH if self.keys else ("to_v",))
        states, change = States.of(material, self.prompts), {}
        exact = torch.cat([states.null[:1], centres(states.null[1:], CENTRES)]).T
        share = 1 / len(material.concepts)
        forget = share * moment(states.forget)
        pull = share * (states.target - states.forget).T @ states.forget
        for number, (name, weight) in enumerate(weights.items(), 1):
            rng = generator(material.seed, f"speed/{name}")
            kept = retained(weight, forget, pull, states.retain.flatten(0, 1), self, rng)
            change[name] = (
                weight @ pull @ Constrained(null_space(kept, self.threshold), exact).solve(forget, self.ridge)
            )
            material.tell(Progress("closed form of speed", number, len(weights)))
        return changed(material, change)


PLUGIN = Speed


@dataclass(frozen=True)
class Constrained:
    """The inputs that may change: those in the projection (D, D), without the columns of `exact` (D, k)."""

    projection: Tensor
    exact: Tensor

    def solve(self, forget: Tensor, ridge: float) -> Tensor:
        """P (I - M K (K^T P M K)^+ K^T P) M, for forget = C C^T: symmetric (D, D), and zero on what is kept."""
        system = self.projection @ forget @ self.projection
        system.diagonal().add_(ridge)
        free = self.projection @ torch.linalg.solve(system, self.projection)  # P M
        held = free @ self.exact
        inner: Tensor = torch.linalg.pinv(self.exact.T @ held, rtol=1e-10, hermitian=True)
        found: Tensor = free - held @ inner @ held.T
        return found


def null_space(second: Tensor, threshold: float) -> Tensor:
    """The projection on the eigenvectors of `second` (D, D) whose eigenvalue is below the threshold."""
    values, vectors = torch.linalg.eigh(second)
    weak: Tensor = vectors[:, values < threshold]
    if not weak.shape[1]:
        raise ConfigError(
            f"no direction of the retain states is below threshold = {threshold:g}; raise threshold, or give fewer retain prompts."
        )
    return weak @ weak.T


def retained(
    weight: Tensor, forget: Tensor, pull: Tensor, retain: Tensor, settings: Speed, rng: torch.Generator
) -> Tensor:
    """The second moment (D, D) of the retain states (R, D) that a change of `weight` (out, D) would move most."""
    system = forget + torch.eye(len(forget), dtype=forget.dtype)
    free = weight @ torch.linalg.solve(system, pull.T).T  # the change without a null space, as in the prior filter
    if not settings.copies:
        return moment(retain) / len(retain)
    moved = (retain @ free.T).norm(dim=1)
    kept = retain[moved >= moved.mean()]
    weakest = torch.linalg.svd(weight)[2][-1]
    noise = torch.randn(settings.copies, len(kept), len(weakest), generator=rng, dtype=weight.dtype) @ weakest
    moved = torch.stack([((kept + one[:, None] * weakest) @ free.T).norm(dim=1) for one in noise])
    total, count = moment(kept), len(kept)
    for one, far in zip(noise, moved >= moved.mean(), strict=True):
        total += moment(kept[far] + one[far][:, None] * weakest)
        count += int(far.sum())
    return total / count


def centres(points: Tensor, count: int) -> Tensor:
    """k-means of `points` (N, D) from the most distant points on: (at most `count`, D), without random numbers."""
    found = points[:1]
    while len(found) < min(count, len(points)):
        found = torch.cat([found, points[torch.cdist(points, found).amin(1).argmax()][None]])
    for _ in range(50):
        nearest = torch.cdist(points, found).argmin(1)
        means = torch.stack(
            [points[nearest == i].mean(0) if (nearest == i).any() else found[i] for i in range(len(found))]
        )
        if torch.equal(means, found):
            break
        found = means
    return found
