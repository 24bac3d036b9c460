"""Where a parameter is in its network and what it does, by the names that diffusers gives: UNets and transformers."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

OTHER = "other"


@dataclass(frozen=True)
class Naming:
    """The parameter names of one family of networks.

    modules: the top module of a name -> its block. A block in `single` has no number. layers: what `select.layers` may
    be -> the blocks and kinds that it selects; `first` and `last` select halves of the numbered blocks.
    """

    family: str
    modules: Mapping[str, str]
    single: tuple[str, ...]
    order: tuple[str, ...]
    kind_of: Callable[[str], str]
    layers: Mapping[str, frozenset[str]]

    def block_of(self, key: str) -> str:
        """The block of a parameter: `down.0`, `block.3`, or a block without a number. An unknown module is a block."""
        top, _, rest = key.partition(".")
        name, number = self.modules.get(top, top), rest.partition(".")[0]
        return f"{name}.{number}" if number.isdigit() and name not in self.single else name


ENTRY, EXIT = "conv_in+time", "out"
AROUND = "proj"
_UNET_MODULES = {"down_blocks": "down", "mid_block": "mid", "up_blocks": "up", "conv_norm_out": EXIT, "conv_out": EXIT}
_UNET_MODULES |= dict.fromkeys(("conv_in", "time_proj", "time_embedding", "class_embedding", "add_embedding"), ENTRY)
_UNET_MODULES |= dict.fromkeys(("encoder_hid_proj", "position_net"), ENTRY)
_UNET_KINDS = {".resnets.": "resnet", ".attn1.": "attn1", ".attn2.": "attn2", ".ff.": "ff"}


def _unet_kind(key: str) -> str:
    """attn1 (self), attn2 (cross), ff, resnet; proj for norms and projections around the attention; other: resizing.

    A UNet without text has plain attention, which is attn1.
    """
    for mark, kind in _UNET_KINDS.items():
        if mark in key:
            return kind
    inside = key.partition(".attentions.")[2].partition(".")[2]
    if not inside:
        return OTHER
    return AROUND if inside.startswith(("norm", "proj", "transformer")) else "attn1"


UNET = Naming(
    family="UNet",
    modules=_UNET_MODULES,
    single=(ENTRY, EXIT),
    order=(ENTRY, "down", "mid", "up", EXIT),
    kind_of=_unet_kind,
    layers={
        "down": frozenset({ENTRY, "down"}),
        "mid": frozenset({"mid"}),
        "up": frozenset({"up", EXIT}),
        "mid+up": frozenset({"mid", "up", EXIT}),
        "attention": frozenset({"attn1", "attn2", "ff", AROUND}),
        "cross_attention": frozenset({"attn2"}),
        "resnets": frozenset({"resnet"}),
    },
)

EMBEDDERS, HEAD = "embedders", "head"
_TRANSFORMER_MODULES = {"transformer_blocks": "block", "single_transformer_blocks": "single"}
_TRANSFORMER_MODULES |= dict.fromkeys(("norm_out", "proj_out", "scale_shift_table"), HEAD)
_TRANSFORMER_MODULES |= dict.fromkeys(("pos_embed", "x_embedder", "time_text_embed", "context_embedder"), EMBEDDERS)
_TRANSFORMER_MODULES |= dict.fromkeys(("adaln_single", "caption_projection"), EMBEDDERS)


def _transformer_kind(key: str) -> str:
    """attention, feed_forward, modulation (norms and what time and text do to them), or other."""
    module = key.split(".")[2] if key.count(".") > 2 else ""
    if module.startswith("attn"):
        return "attention"
    if module.startswith(("ff", "proj_mlp", "proj_out")):
        return "feed_forward"
    return "modulation" if module.startswith("norm") else OTHER


TRANSFORMER = Naming(
    family="transformer",
    modules=_TRANSFORMER_MODULES,
    single=(EMBEDDERS, HEAD),
    order=(EMBEDDERS, "block", "single", HEAD),
    kind_of=_transformer_kind,
    layers={
        "first": frozenset({EMBEDDERS}),
        "last": frozenset({HEAD}),
        "attention": frozenset({"attention"}),
        "feed_forward": frozenset({"feed_forward"}),
        "modulation": frozenset({"modulation"}),
    },
)

NAMINGS = (UNET, TRANSFORMER)


def naming_of(keys: Iterable[str]) -> Naming:
    """The naming that the first known module among the parameter names belongs to; UNET if all are unknown."""
    for key in keys:
        for naming in NAMINGS:
            if key.partition(".")[0] in naming.modules:
                return naming
    return UNET
