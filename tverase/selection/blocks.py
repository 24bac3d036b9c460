"""The paper's selector: parts of the network that are chosen by name."""

from collections.abc import Iterable
from typing import Literal

from ..errors import ConfigError
from ..models.naming import naming_of
from .base import Selection
from .groups import groups

# Of a UNet: down to resnets; of a transformer: attention, and those after resnets.
Layers = Literal[
    "down",
    "mid",
    "up",
    "mid+up",
    "attention",
    "cross_attention",
    "resnets",
    "first",
    "last",
    "feed_forward",
    "modulation",
]


def blocks(keys: Iterable[str], layers: Layers) -> Selection:
    """Strength 1 for the groups that `layers` names, 0 for the rest; `ConfigError` if the model's family has no such layers.

    "down" is near the "first three blocks" of Pham et al. (2024, arXiv:2404.03631); "first" and "last" are the halves of a
    transformer's blocks.
    """
    names = list(keys)
    naming = naming_of(names)
    if layers not in naming.layers:
        raise ConfigError(
            f"select.layers={layers} does not exist in a {naming.family}; choose one of: {', '.join(naming.layers)}."
        )
    found = groups(names, "both")
    wanted = set(naming.layers[layers])
    if layers in ("first", "last"):
        numbered = list(dict.fromkeys(group.partition("/")[0] for group in found if "/" in group))
        half = (len(numbered) + 1) // 2
        wanted |= set(numbered[:half] if layers == "first" else numbered[half:])
    return Selection("both", {group: float(_is(group, wanted)) for group in found})


def _is(group: str, wanted: set[str]) -> bool:
    block, _, kind = group.partition("/")
    return not wanted.isdisjoint((block, block.partition(".")[0], kind))
