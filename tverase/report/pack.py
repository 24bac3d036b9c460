"""The pictures of an evaluation as one dictionary of uint8 tensors, under the names that `Facts` documents."""

from collections.abc import Sequence

from torch import Tensor

from ..evaluation import Control, Row
from ..images import to_bytes


def pack(rows: Sequence[Row], control: Control, shown: int) -> dict[str, Tensor]:
    """`row/<i>/before`, `row/<i>/after`, `control/before`, `control/after`."""
    pictures: dict[str, Tensor] = {}
    for i, row in enumerate(rows):
        pictures |= {f"row/{i}/before": to_bytes(row.before), f"row/{i}/after": to_bytes(row.after)}
    every = slice(None, None, max(1, len(control.prompts) // shown))
    return {
        **pictures,
        "control/before": to_bytes(control.before[every]),
        "control/after": to_bytes(control.after[every]),
    }
