"""The images that everything starts from: of each concept, and of the retain set."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from torch import Tensor

from ..context import Context
from ..files import read_tensors, write_tensors

RETAIN_PROMPTS = "retain prompts"  # in the file's metadata


@dataclass(frozen=True)
class Images:
    """Images as latents.

    tensors: `latents/<slug>` (N, ...) of each concept, and `latents/retain` (M, ...) of the retain set. `shown/<slug>` has a
    few pictures as uint8 (n, 3, H, W).
    prompts: `prompts[i]` drew row i of `latents/retain`. rates: by slug, how often the judge sees the concept, as `hits/images`.
    """

    tensors: Mapping[str, Tensor]
    prompts: tuple[str, ...]
    rates: Mapping[str, str]

    def forget(self, context: Context) -> dict[str, Tensor]:
        """Latents (N, ...) of each concept's images, by its name, on the model's device."""
        return {c.name: self.tensors[f"latents/{c.slug}"].to(context.model.device) for c in context.concepts}

    def retain(self, context: Context) -> tuple[Tensor, Tensor]:
        """Latents (M, ...) of the retain set and the conditionings (M, ...) that they were drawn by."""
        return self.tensors["latents/retain"].to(context.model.device), context.model.encode(list(self.prompts))

    def save(self, path: Path) -> None:
        """One safetensors file, the rest in its metadata."""
        write_tensors(self.tensors, path, {**self.rates, RETAIN_PROMPTS: json.dumps(self.prompts)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        tensors, about = read_tensors(path)
        prompts = json.loads(about.pop(RETAIN_PROMPTS))
        return cls(tensors, tuple(prompts), about)
