"""What a pipeline folder may hold: its parts, their classes and the names of their files. Everything else is foreign."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["network", "tokenizer", "scheduler", "processor"]

# The only files of a part that are read or written, beside a network's weights.
FILES: dict[Kind, tuple[str, ...]] = {
    "network": ("config.json",),
    "tokenizer": (
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
        "merges.txt",
        "special_tokens_map.json",
        "added_tokens.json",
    ),
    "scheduler": ("scheduler_config.json",),
    "processor": ("preprocessor_config.json",),
}
STEMS = {"diffusers": "diffusion_pytorch_model"}  # of weight files; transformers says "model"
LIBRARIES = ("diffusers", "transformers")  # whose classes a model_index.json may name


@dataclass(frozen=True)
class Part:
    """One part of a pipeline: what it is, which library it comes from and which of its classes are known.

    classes: the class names that are opened; empty for schedulers, which are known by their base class.
    """

    kind: Kind
    library: str
    classes: tuple[str, ...] = ()
    needed: bool = True

    @property
    def stem(self) -> str:
        """The first part of the names of its weight files."""
        return STEMS.get(self.library, "model")

    def known(self, library: object, name: object) -> bool:
        """Whether `model_index.json` may give this part the class `name` of `library`."""
        if library != self.library or not isinstance(name, str):
            return False
        return name in self.classes or (self.kind == "scheduler" and name.endswith("Scheduler") and name.isidentifier())


@dataclass(frozen=True)
class Layout:
    """A family of pipeline folders: the classes of its index, its parts, and the part whose weights an edit replaces."""

    family: str
    pipelines: tuple[str, ...]
    edited: str
    parts: Mapping[str, Part]

    def networks(self) -> tuple[str, ...]:
        """The parts with weights that the pipeline needs."""
        return tuple(name for name, part in self.parts.items() if part.kind == "network" and part.needed)


STABLE_DIFFUSION = Layout(
    family="Stable Diffusion",
    pipelines=("StableDiffusionPipeline",),
    edited="unet",
    parts={
        "unet": Part("network", "diffusers", ("UNet2DConditionModel",)),
        "vae": Part("network", "diffusers", ("AutoencoderKL",)),
        "text_encoder": Part("network", "transformers", ("CLIPTextModel",)),
        "tokenizer": Part("tokenizer", "transformers", ("CLIPTokenizer", "CLIPTokenizerFast")),
        "scheduler": Part("scheduler", "diffusers"),
        "safety_checker": Part("network", "stable_diffusion", ("StableDiffusionSafetyChecker",), needed=False),
        "feature_extractor": Part(
            "processor",
            "transformers",
            ("CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPFeatureExtractor", "CLIPProcessor"),
            needed=False,
        ),
        "image_encoder": Part("network", "transformers", ("CLIPVisionModelWithProjection",), needed=False),
    },
)
KNOWN_PIPELINES = STABLE_DIFFUSION.pipelines
WEIGHTED = STABLE_DIFFUSION.networks()


def named(index: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The parts that a `model_index.json` names, with library and class; parts that are null are left out."""
    pairs = {name: value for name, value in index.items() if isinstance(value, list) and not name.startswith("_")}
    return {name: (*value, None, None)[:2] for name, value in pairs.items() if any(v is not None for v in value)}
