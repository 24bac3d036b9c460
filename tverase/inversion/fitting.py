"""Work on many embeddings at once, in parts that the memory holds."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..models.base import Meter


def in_chunks(rows: Tensor, batch: int, chunk: int, meter: Meter, work: Callable[[Tensor, Tensor], None]) -> int:
    """`work(rows, images)` on all of `rows` (n,) and their `batch` images each, at most `chunk` images at once.

    A part that does not fit into memory is repeated in halves, and so are the later parts. Returns that chunk for the next
    time. One image has to fit. The meter does not count a part that failed.
    """
    parts = _parts(rows, batch, chunk)
    while parts:
        some, images = parts[0]
        before = meter.evaluations
        try:
            work(some, images)
        except torch.OutOfMemoryError:
            size = len(some) * len(images)
            if size == 1:
                raise
            meter.evaluations, chunk = before, size // 2
            parts = [half for part in parts for half in _halved(*part, chunk)]
            torch.cuda.empty_cache()  # does nothing where there is no GPU
            continue
        parts = parts[1:]
    return chunk


def _parts(rows: Tensor, batch: int, chunk: int) -> list[tuple[Tensor, Tensor]]:
    """All rows and images, in parts of at most `chunk` of both together."""
    several = torch.split(rows, max(1, chunk // batch)) if len(rows) else ()
    return [(some, images) for some in several for images in torch.split(torch.arange(batch), chunk)]


def _halved(rows: Tensor, images: Tensor, chunk: int) -> list[tuple[Tensor, Tensor]]:
    """A part in parts of at most `chunk`."""
    several = torch.split(rows, max(1, chunk // len(images)))
    return [(some, few) for some in several for few in torch.split(images, chunk)]
