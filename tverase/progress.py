"""What long work tells its caller: how far it is. The library never prints."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """`done` of `total` units of `what`, and a word about how it goes."""

    what: str
    done: int
    total: int
    note: str = ""


Tell = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """Tells nobody."""
