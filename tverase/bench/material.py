"""What a concept and a seed have before any row: images of the base model, what attackers own, and embeddings."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ..erasers.base import Material
from ..errors import DataError
from ..files import read_json, read_tensors, sha256
from ..inversion.sets import ROLES, InversionSet
from ..models.base import Meter
from ..steps.images import Images
from ..steps.inversion import load_sets
from .case import Case, kept

IMAGES, OWNED, SETS, SAID = "images.safetensors", "owned.safetensors", "inversions", "material.json"


@dataclass(frozen=True)
class Prepared:
    """What `tverase.bench.prepare` wrote."""

    folder: Path

    @cached_property
    def images(self) -> Images:
        """The images from which erasers learn."""
        return Images.load(self.folder / IMAGES)

    @cached_property
    def owned(self) -> Tensor:
        """Latents (N, ...) of the concept that no eraser has seen."""
        return read_tensors(self.folder / OWNED)[0]["latents"]

    @cached_property
    def sets(self) -> dict[str, InversionSet]:
        """The embeddings by role."""
        return load_sets(self.folder / SETS)

    @staticmethod
    def files(folder: Path) -> dict[str, Path]:
        """The files that decide what a row or a cell makes of it."""
        sets = {f"sets/{role}": folder / SETS / f"{role}.safetensors" for role in ROLES}
        return {"images": folder / IMAGES, "owned": folder / OWNED, **sets}

    def material(self, case: Case, meter: Meter) -> Material:
        """What an eraser is given."""
        context = case.context(meter)
        latents, retain = self.images.forget(context), self.images.retain(context)
        return Material(context.model, context.concepts, latents, *retain, case.seed)


def prepared(folder: Path) -> Prepared:
    """The material in a folder, read once by each thread while it does not change."""
    said = read_json(folder / SAID) if (folder / SAID).exists() else {"state": "failed", "why": "it was not run."}
    if said["state"] != "done":
        raise DataError(f"the images of the concept could not be made: {said['why']}")
    stamp = sha256(folder / IMAGES)
    return kept(("material", str(folder), stamp), lambda: Prepared(folder))


def first(latents: Tensor, count: int) -> Tensor:
    """`count` of the latents (N, ...), over and over if there are fewer."""
    return latents[torch.arange(count) % len(latents)]
