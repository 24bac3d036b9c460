"""The pictures of an evaluation as one dictionary of uint8 tensors, under the names that `Facts` documents."""

from collections.abc import Sequence

from torch import Tensor

from ..evaluation import RetainSet, Row
from ..images import to_bytes


def pack(rows: Sequence[Row], retain_set: RetainSet, shown: int) -> dict[str, Tensor]:
    """`row/<i>/before`, `row/<i>/after`, `retain/before`, `retain/after`."""
    pictures: dict[str, Tensor] = {}
    for i, row in enumerate(rows):
        pictures |= {f"row/{i}/before": to_bytes(row.before), f"row/{i}/after": to_bytes(row.after)}
    every = slice(None, None, max(1, len(retain_set.prompts) // shown))
    return {
        **pictures,
        "retain/before": to_bytes(retain_set.before[every]),
        "retain/after": to_bytes(retain_set.after[every]),
    }
