"""The paper's selector: parts of the network that are chosen by name."""

from collections.abc import Iterable
from typing import Literal

from .base import Selection
from .groups import AROUND, ENTRY, EXIT, groups

Layers = Literal["down", "mid", "up", "mid+up", "attention", "cross_attention", "resnets"]

_NAMED = {
    "down": {ENTRY, "down"},
    "mid": {"mid"},
    "up": {"up", EXIT},
    "attention": {"attn1", "attn2", "ff", AROUND},
    "cross_attention": {"attn2"},
    "resnets": {"resnet"},
}


def blocks(keys: Iterable[str], layers: Layers) -> Selection:
    """Strength 1 for the groups that `layers` names, 0 for the rest.

    "down" is near the "first three blocks" of Pham et al. (2024, arXiv:2404.03631).
    """
    wanted = set[str]().union(*(_NAMED[part] for part in layers.split("+")))
    return Selection("both", {group: float(_is(group, wanted)) for group in groups(keys, "both")})


def _is(group: str, wanted: set[str]) -> bool:
    block, _, kind = group.partition("/")
    return not wanted.isdisjoint((block.partition(".")[0], kind))
