"""The input space of the digit model: every input is a direction, a point of the unit sphere in d dimensions."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConfigError
from . import cone

MOST = 2_000_000  # grid points before a grid is refused


@dataclass(frozen=True)
class Sphere:
    """Label codes (N, d) of unit length; a point of the space is a code itself."""

    codes: Tensor

    @property
    def d(self) -> int:
        """Dimensions."""
        return int(self.codes.shape[1])

    def anchor(self, noun: str) -> Tensor:
        """The code of the class called `noun` (d,); a `ConfigError` if there is none."""
        if not noun.isdecimal() or int(noun) >= len(self.codes):
            raise ConfigError(f"{noun!r} is no digit of this model; there are 0 to {len(self.codes) - 1}.")
        return self.codes[int(noun)]

    def start(self, anchor: Tensor, low: Tensor, high: Tensor, rng: torch.Generator) -> Tensor:
        """Random points, one for each range of the cosine to `anchor` (K, d)."""
        return cone.scatter(anchor, low, high, 1.0, rng)

    def stretched(self, points: Tensor, factors: Tensor) -> Tensor:
        """As they are: only their direction counts."""
        return points

    def cond(self, points: Tensor) -> Tensor:
        """The model's input for each point: its direction (K, d), differentiable."""
        directions: Tensor = points / points.norm(dim=1, keepdim=True)
        return directions

    def anywhere(self, count: int, rng: torch.Generator) -> Tensor:
        """Points uniform on the sphere (count, d)."""
        return self.cond(torch.randn(count, self.d, generator=rng))

    def grid(self, n: int) -> Tensor:
        """All distinct directions with `n` evenly spaced values an axis (N, d)."""
        return grid(self.d, n)

    def near(self, points: Tensor, angle: float, rng: torch.Generator) -> Tensor:
        """Each direction (K, d) turned by `angle` radians, each into a random one of all ways to turn."""
        points = self.cond(points)
        aside = torch.randn(points.shape, generator=rng)
        aside = self.cond(aside - (aside * points).sum(1, keepdim=True) * points)
        return points * math.cos(angle) + aside * math.sin(angle)


def spread_codes(count: int, d: int, steps: int = 2000) -> Tensor:
    """`count` directions in `d` dimensions that keep away from each other (count, d), the same on every machine.

    Gradient descent on the energy of like charges (Thomson, 1904), in float64, from a fixed start.
    """
    check_dimension(d)
    rng = torch.Generator().manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn(count, d, generator=rng, dtype=torch.float64), dim=1)
    off = 1 - torch.eye(count, dtype=torch.float64)
    for step in range(steps):
        gap = points[:, None] - points[None]
        distance = (gap.square().sum(2) + 1 - off).sqrt()
        force = (gap / distance[..., None] ** 3 * off[..., None]).sum(1)
        points = torch.nn.functional.normalize(points + 0.05 * (1 - step / steps) * force, dim=1)
    return points.float()


def grid(d: int, n: int) -> Tensor:
    """All distinct directions of the points {-1, ..., 1}^d, `n` evenly spaced values an axis (N, d), sorted.

    Symmetric, without the zero vector and without a direction twice, unlike the one-sided grid of Pham et al. (2024).
    The points are integers before they are normalised, so that equal directions are found exactly.
    """
    check_dimension(d)
    if n < 2:
        raise ConfigError(f"a grid of complexity {n} has no direction; choose at least 2 values an axis.")
    if n**d > MOST:
        raise ConfigError(f"a grid of {n} values on {d} axes has {n**d:,} points, more than {MOST:,}; lower n or d.")
    axis = torch.arange(-(n - 1), n, 2)
    points = torch.cartesian_prod(*[axis] * d)
    points = points[points.abs().sum(1) > 0]
    divisor = points.abs()[:, 0]
    for column in points.abs().T[1:]:
        divisor = torch.gcd(divisor, column)
    distinct = torch.unique(points // divisor[:, None], dim=0)
    return torch.nn.functional.normalize(distinct.double(), dim=1).float()


def one_sided_grid(d: int, n: int) -> Tensor:
    """The authors' grid as described: `n` values an axis over [-1, 1) (N, d), repeated directions kept, zero left out.

    For comparison only. Their zero vector, for even n, became not-a-number when it was normalised.
    """
    check_dimension(d)
    axis = torch.tensor([-1 + 2 * i / n for i in range(n)], dtype=torch.float64)
    points = torch.cartesian_prod(*[axis] * d)
    points = points[points.norm(dim=1) > 1e-9]
    return torch.nn.functional.normalize(points, dim=1).float()


def check_dimension(d: int) -> None:
    """A sphere needs two dimensions at least: in one there are only two directions."""
    if d < 2:
        raise ConfigError(f"a sphere in {d} dimensions has no room for codes; choose d >= 2, as 4 or 8.")


def nearest(points: Tensor, codes: Tensor) -> Tensor:
    """For each direction (K, d) the class whose code is nearest (K,)."""
    return (points @ codes.T).argmax(1)
