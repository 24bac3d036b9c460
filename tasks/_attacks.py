"""The attacks that a step's parameters name."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tverase.attacks.base import Attack
from tverase.registry import built

from ._plugins import spec_modules


def attacks_of(specs: Iterable[Mapping[str, Any]]) -> list[Attack]:
    """The attacks themselves."""
    return [built("attack", spec) for spec in specs]


def attack_modules(specs: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Their modules, whose source belongs to a step's key."""
    for spec in specs:
        yield from spec_modules("attack", spec)
