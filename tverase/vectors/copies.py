"""Names of fine-tunes that differ in their seed only: `bomb`, `bomb~1`, `bomb~2`.

No name has the sign between name and number. A concept's slug has letters, digits and hyphens, and a fine-tuning of several
concepts joins them by `+`.
"""

from collections.abc import Mapping
from typing import TypeVar

COPY = "~"
T = TypeVar("T")


def copy_name(name: str, number: int) -> str:
    """The name of a copy; the first, number 0, has the plain name."""
    return f"{name}{COPY}{number}" if number else name


def by_name(found: Mapping[str, T]) -> dict[str, list[T]]:
    """What belongs to one name, in the order of the numbers; names in the order in which they first come."""
    numbered: dict[str, dict[int, T]] = {}
    for copy, item in found.items():
        name, _, number = copy.partition(COPY)
        numbered.setdefault(name, {})[int(number or 0)] = item
    return {name: [items[number] for number in sorted(items)] for name, items in numbered.items()}
