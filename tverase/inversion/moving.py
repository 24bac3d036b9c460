"""Points that Adam moves, and all that its next step depends on."""

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor


class Moving:
    """Points (K, E) under way: `step` were taken, the last with `losses` (K,). Whoever moves them sets the rate.

    Those that `left` (K,) stay where they are. chunk: most noised images in one forward pass, once more did not fit.
    """

    def __init__(self, points: Tensor) -> None:
        self.points = points.requires_grad_()
        self.optimiser = torch.optim.Adam([self.points])
        self.losses = points.new_zeros(len(points))
        self.left = torch.zeros(len(points), dtype=torch.bool, device=points.device)
        self.step = 0
        self.chunk: int | None = None

    def over(self, end: int) -> bool:
        """Whether nothing moves any more, at the latest after step `end`."""
        return self.step >= end or bool(self.left.all())

    def finite(self, losses: Tensor) -> bool:
        """Whether a step with these losses and the gradients as they are leaves the points finite."""
        gradient = self.points.grad
        return bool(torch.isfinite(losses).all()) and gradient is not None and bool(torch.isfinite(gradient).all())

    def advance(self, losses: Tensor) -> None:
        """One step of the optimiser."""
        before = self.points.detach()[self.left]
        self.optimiser.step()
        with torch.no_grad():
            self.points[self.left] = before  # Adam would let them roll on
        self.losses = torch.where(self.left, self.losses, losses)
        self.step += 1

    def tensors(self) -> dict[str, Tensor]:
        """What `of` reads."""
        state, none = self.optimiser.state.get(self.points, {}), torch.zeros_like(self.points)
        moments = {"first": state.get("exp_avg", none), "second": state.get("exp_avg_sq", none)}
        known = {"points": self.points, "losses": self.losses, "left": self.left, "step": torch.tensor(self.step)}
        return {**known, **moments}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], device: torch.device) -> Self:
        """Go on from `tensors` as if nothing had happened."""
        moving = cls(tensors["points"].to(device))
        moving.losses, moving.left = tensors["losses"].to(device), tensors["left"].to(device)
        moving.step = int(tensors["step"])
        moving.optimiser.state[moving.points] = {
            "step": torch.tensor(float(moving.step)),
            "exp_avg": tensors["first"].to(device),
            "exp_avg_sq": tensors["second"].to(device),
        }
        return moving
