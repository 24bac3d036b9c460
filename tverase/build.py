"""From fine-tuned weights to the vector that is applied."""

from collections.abc import Mapping
from functools import reduce
from operator import add
from typing import Literal

from pydantic import Field

from .errors import ConfigError
from .settings import Settings
from .vector import StateDict, TaskVector

Layers = Literal["all", "down", "mid", "up", "mid+up", "attention", "cross_attention", "resnets"]

CONTROL = "control"
_PREFIXES = {
    "down": ("conv_in", "time_embedding", "down_blocks"),
    "mid": ("mid_block",),
    "up": ("up_blocks", "conv_out", "conv_norm_out"),
}
_INSIDE = {"attention": ".attentions.", "cross_attention": ".attn2.", "resnets": ".resnets."}


class BuildVector(Settings):
    """How tau is made."""

    subtract_control: float = Field(default=0.0, ge=0)  # tau - this much of the vector of unrelated images
    layers: Layers = "all"  # "down" is close to the paper's "first three blocks"


def build_vector(base: StateDict, finetuned: Mapping[str, StateDict], settings: BuildVector) -> TaskVector:
    """The sum of the concepts' vectors, less the control's share, restricted to the layers that are edited.

    finetuned: slug of a concept, or "control", to theta_ft. Fine-tuning on self-drawn images also learns their guided
    look; the vector of unrelated self-drawn images has that look and not the concept.
    """
    vectors = {name: TaskVector.between(base, weights) for name, weights in finetuned.items()}
    control = vectors.pop(CONTROL, None)
    if settings.subtract_control:
        if control is None:
            raise ConfigError(
                "build_vector.subtract_control needs the control's fine-tuning: set finetune.control=true."
            )
        vectors = {name: vector - settings.subtract_control * control for name, vector in vectors.items()}
    total = reduce(add, vectors.values())
    return total.restrict(lambda key: in_layers(key, settings.layers))


def in_layers(key: str, layers: Layers) -> bool:
    """Whether a UNet parameter belongs to a named part of it."""
    if layers == "all":
        return True
    if layers in _INSIDE:
        return _INSIDE[layers] in key
    return any(key.startswith(_PREFIXES[part]) for part in layers.split("+"))
