"""Named groups of a UNet's parameters: by where they stand, by what they do, or by both."""

from collections.abc import Iterable
from typing import Literal

# blocks: conv_in+time, down.0, ..., mid, up.0, ..., out. kinds: attn1, attn2, ... of all blocks together.
# both: down.0/attn1, down.0/attn2, ...; what is in no block has no kind.
Grain = Literal["blocks", "kinds", "both"]

ENTRY, EXIT = "conv_in+time", "out"
_TOP = {"down_blocks": "down", "mid_block": "mid", "up_blocks": "up", "conv_norm_out": EXIT, "conv_out": EXIT}
_TOP |= dict.fromkeys(("conv_in", "time_proj", "time_embedding", "class_embedding", "add_embedding"), ENTRY)
_TOP |= dict.fromkeys(("encoder_hid_proj", "position_net"), ENTRY)
_ORDER = (ENTRY, "down", "mid", "up", EXIT)
_KINDS = {".resnets.": "resnet", ".attn1.": "attn1", ".attn2.": "attn2", ".ff.": "ff"}
AROUND, OTHER = "proj", "other"


def groups(keys: Iterable[str], grain: Grain) -> dict[str, tuple[str, ...]]:
    """A partition of parameter names (those of diffusers' UNet2DConditionModel and UNet2DModel), in the network's order."""
    found: dict[str, list[str]] = {}
    for key in sorted(keys):
        found.setdefault(group_of(key, grain), []).append(key)
    return {name: tuple(found[name]) for name in sorted(found, key=_place)}


def group_of(key: str, grain: Grain) -> str:
    """The group that a parameter belongs to."""
    block = block_of(key)
    if grain == "blocks" or block in (ENTRY, EXIT):
        return block
    return kind_of(key) if grain == "kinds" else f"{block}/{kind_of(key)}"


def block_of(key: str) -> str:
    """Where a parameter stands: a block, the way in, or the way out. An unknown module is a block of its own name."""
    top, _, rest = key.partition(".")
    name, number = _TOP.get(top, top), rest.partition(".")[0]
    return f"{name}.{number}" if number.isdigit() and name not in (ENTRY, EXIT) else name


def kind_of(key: str) -> str:
    """What a parameter inside a block does: attn1 (self), attn2 (cross), ff, resnet; proj for norms and projections
    around the attention; other for what changes the size.

    A UNet without text has plain attention, which is attn1.
    """
    for mark, kind in _KINDS.items():
        if mark in key:
            return kind
    inside = key.partition(".attentions.")[2].partition(".")[2]
    if not inside:
        return OTHER
    return AROUND if inside.startswith(("norm", "proj", "transformer")) else "attn1"


def _place(name: str) -> tuple[int, int, str]:
    head, _, number = name.partition("/")[0].partition(".")
    return _ORDER.index(head) if head in _ORDER else len(_ORDER), int(number or 0), name
