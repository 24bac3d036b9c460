"""Geometry of bins: all points whose cosine to an anchor lies between two numbers."""

import torch
from torch import Tensor


def cosine(points: Tensor, anchor: Tensor) -> Tensor:
    """Cosine of each row of `points` (K, E) to `anchor` (E,), (K,)."""
    return torch.nn.functional.cosine_similarity(points, anchor[None], dim=1)


def sideways(points: Tensor, anchor: Tensor) -> Tensor:
    """The unit vectors orthogonal to `anchor` that span, with it, the plane of each point (K, E).

    A point on the anchor's own line gets the first coordinate axis that is not on it.
    """
    unit = anchor / anchor.norm()
    across = points - (points @ unit)[:, None] * unit
    across = across - (across @ unit)[:, None] * unit  # twice is enough, once is not close to the line
    length = across.norm(dim=1, keepdim=True)
    axis = torch.zeros_like(unit)
    axis[unit.abs().argmin()] = 1.0
    spare = axis - (axis @ unit) * unit
    spare = spare / spare.norm()
    tiny = 1e-6 * points.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return torch.where(length > tiny, across / length.clamp(min=1e-12), spare)


def project(points: Tensor, anchor: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The nearest points of the same length with low <= cos(point, anchor) <= high: a rotation in the plane of both.

    points (K, E), anchor (E,), low and high (K,) in [-1, 1]. Points inside their bin stay as they are.
    """
    now = cosine(points, anchor)
    wanted = torch.minimum(torch.maximum(now, low), high)
    unit = anchor / anchor.norm()
    sine = (1 - wanted**2).clamp(min=0).sqrt()
    turned = wanted[:, None] * unit + sine[:, None] * sideways(points, anchor)
    moved = points.norm(dim=1, keepdim=True) * turned
    return torch.where((wanted == now)[:, None], points, moved)


def scatter(anchor: Tensor, low: Tensor, high: Tensor, length: float, rng: torch.Generator) -> Tensor:
    """Random points of one length, one for each bin: a uniform cosine inside it, a uniform direction across (K, E)."""
    count = len(low)
    across = sideways(torch.randn(count, len(anchor), generator=rng), anchor)
    wanted = low + (high - low) * torch.rand(count, generator=rng)
    unit = anchor / anchor.norm()
    turned: Tensor = wanted[:, None] * unit + (1 - wanted**2).clamp(min=0).sqrt()[:, None] * across
    return turned * length


def crowding(points: Tensor, anchor: Tensor, limit: float) -> Tensor:
    """Hinge penalty on directions that are more alike than `limit`: a number for each point (K,).

    Directions are taken across the anchor, because inside a narrow bin around it all points are alike by definition.
    """
    across = sideways(points, anchor)
    alike = across @ across.T - 2 * torch.eye(len(points), device=points.device)
    return (alike - limit).clamp(min=0).sum(1)
