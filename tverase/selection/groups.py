"""Named groups of a network's parameters: by their block, by what they do, or by both."""

from collections.abc import Iterable
from typing import Literal

from ..models.naming import Naming, naming_of

# blocks of a UNet: conv_in+time, down.0, ..., mid, up.0, ..., out; of a transformer: embedders, block.0, ..., head.
# kinds: attn1, attn2, ... of all blocks together. both: down.0/attn1, down.0/attn2, ...; a block without a number but
# `mid` has no kinds.
Grain = Literal["blocks", "kinds", "both"]


def groups(keys: Iterable[str], grain: Grain) -> dict[str, tuple[str, ...]]:
    """A partition of parameter names, in the network's order."""
    found: dict[str, list[str]] = {}
    names = sorted(keys)
    for key in names:
        found.setdefault(group_of(key, grain), []).append(key)
    naming = naming_of(names)
    return {name: tuple(found[name]) for name in sorted(found, key=lambda name: _place(name, naming))}


def group_of(key: str, grain: Grain) -> str:
    """The group that a parameter belongs to."""
    block = block_of(key)
    if grain == "blocks" or block in naming_of([key]).single:
        return block
    return kind_of(key) if grain == "kinds" else f"{block}/{kind_of(key)}"


def block_of(key: str) -> str:
    """The block of a parameter, in the words of its model's family."""
    return naming_of([key]).block_of(key)


def kind_of(key: str) -> str:
    """What a parameter inside a block does, in the words of its model's family."""
    return naming_of([key]).kind_of(key)


def _place(name: str, naming: Naming) -> tuple[int, int, str]:
    head, _, number = name.partition("/")[0].partition(".")
    return naming.order.index(head) if head in naming.order else len(naming.order), int(number or 0), name
