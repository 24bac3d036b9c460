"""What an inversion leaves on the disk, so that it can stop anywhere and go on exactly."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from ..checkpoint import under
from ..errors import ModelError
from ..files import dropped, read_tensors, write_tensors
from ..models.base import Meter
from .moving import Moving

CHECKPOINT_EVERY = 20  # steps


@dataclass(frozen=True)
class Best:
    """The best embedding of each slot so far (K, E), its loss (K,), and how many of its images showed the concept."""

    points: Tensor
    losses: Tensor
    hits: tuple[int, ...]


@dataclass
class Kept:
    """The best so far and the search under way; the random numbers to come and the cost so far go with them.

    Without a `path` nothing is written.
    """

    path: Path | None
    rng: torch.Generator
    meter: Meter
    count: int  # slots, K
    attempt: int = 0
    best: Best | None = None
    moving: Moving | None = None

    def __post_init__(self) -> None:
        self._begun = replace(self.meter)

    @classmethod
    def of(cls, path: Path | None, rng: torch.Generator, meter: Meter, count: int, anchor: Tensor) -> Self:
        """What `path` has, if an inversion has left something sound there. anchor (E,): says the dimension and the device."""
        kept = cls(path, rng, meter, count)
        if path is not None and path.exists():
            try:
                kept._resume(path, anchor)
            except (ModelError, KeyError, ValueError) as error:
                dropped(path, error)
                return cls(path, rng, meter, count)
        return kept

    def open(self, needed: float) -> list[int]:
        """The slots that lack an embedding with `needed` hits."""
        if self.best is None:
            return list(range(self.count))
        return [i for i, hits in enumerate(self.best.hits) if hits < needed]

    def judged(self, slots: list[int], points: Tensor, losses: Tensor, hits: list[int]) -> None:
        """The end of an attempt: whatever is better than before takes its slot."""
        if self.best is None:
            self.best = Best(points.clone(), losses.clone(), tuple(hits))
        else:
            all_points, all_losses, all_hits = self.best.points.clone(), self.best.losses.clone(), list(self.best.hits)
            for i, point, loss, count in zip(slots, points, losses, hits, strict=True):
                if count > all_hits[i]:
                    all_points[i], all_losses[i], all_hits[i] = point, loss, count
            self.best = Best(all_points, all_losses, tuple(all_hits))
        self.moving = None
        self.attempt += 1
        self.save(None)

    def leave(self, moving: Moving, end: int) -> None:
        """`save` every now and then, and at the end of a search, so that acceptance does not wait for it again."""
        if moving.step % CHECKPOINT_EVERY == 0 or moving.over(end):
            self.save(moving)

    def save(self, moving: Moving | None) -> None:
        """Everything that the next step depends on, in one safetensors file."""
        if self.path is None:
            return
        tensors = {"rng": self.rng.get_state()}
        if moving is not None:
            tensors |= {f"moving/{name}": tensor for name, tensor in moving.tensors().items()}
        if self.best is not None:
            tensors |= {"best/points": self.best.points, "best/losses": self.best.losses}
            tensors["best/hits"] = torch.tensor(self.best.hits)
        spent = self.meter.evaluations - self._begun.evaluations, self.meter.images - self._begun.images
        about = {"attempt": self.attempt, "evaluations": spent[0], "images": spent[1]}
        write_tensors(tensors, self.path, {key: str(value) for key, value in about.items()})

    def _resume(self, path: Path, anchor: Tensor) -> None:
        tensors, about = read_tensors(path)
        parts = {kind: under(kind, tensors) for kind in ("moving", "best")}
        shapes = {tuple(part["points"].shape) for part in parts.values() if part}
        widths, most = {shape[1] for shape in shapes}, max((shape[0] for shape in shapes), default=0)
        if "attempt" not in about or widths != {len(anchor)} or most != self.count:
            raise ModelError(f"{path} is a checkpoint of another inversion; delete it to start anew.")
        if best := parts["best"]:
            points, losses = best["points"].to(anchor.device), best["losses"].to(anchor.device)
            self.best = Best(points, losses, tuple(best["hits"].tolist()))
        self.moving = Moving.of(parts["moving"], anchor.device) if parts["moving"] else None
        self.attempt = int(about["attempt"])
        self.rng.set_state(tensors["rng"])
        self.meter.evaluations += int(about["evaluations"])
        self.meter.images += int(about["images"])
