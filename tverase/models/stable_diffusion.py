"""Stable Diffusion 1.x and 2.x: a UNet that predicts epsilon or v, with one CLIP text encoder."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch

from ..settings import Settings
from . import checking, opening, writing
from .layout import STABLE_DIFFUSION, Layout
from .text2image import TextToImage

PAPER = "Rombach et al., 2022, arXiv:2112.10752"


class StableDiffusion(Settings):
    """Folders of diffusers' `StableDiffusionPipeline`; a subclass with another layout opens others of this shape."""

    LAYOUT: ClassVar[Layout] = STABLE_DIFFUSION
    KINDS: ClassVar[tuple[str, ...]] = STABLE_DIFFUSION.pipelines

    def check(self, folder: Path, *, finite: bool = True) -> None:
        """Raise unless the folder is whole."""
        checking.check_folder(folder, self.LAYOUT, finite=finite)

    def open(self, folder: Path, device: str = "cpu") -> TextToImage:
        """The pipeline as a `Model`."""
        return TextToImage.of(opening.open_pipeline(folder, self.LAYOUT).to(device))

    def write(self, source: Path, weights: Mapping[str, torch.Tensor], out: Path) -> tuple[str, ...]:
        """Write the pipeline with other UNet weights."""
        return writing.write_edited(source, weights, out, self.LAYOUT)


PLUGIN = StableDiffusion
