"""Digits: the model of handwritten digits whose input is a point of a sphere."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch

from ..errors import ModelError
from ..settings import Settings
from . import checking, writing
from .digits import CODES, KIND, Digits
from .layout import Layout, Part
from .reading import say, wrong_with

NAME = "digits"
PAPER = "Pham et al., 2024, arXiv:2404.03631"
LAYOUT = Layout(
    family="digits",
    pipelines=(KIND,),
    edited="unet",
    parts={"unet": Part("network", "diffusers", ("UNet2DModel",))},
)


class DigitsFolder(Settings):
    """Folders with the denoiser in `unet` and the label codes beside it."""

    KINDS: ClassVar[tuple[str, ...]] = LAYOUT.pipelines

    def check(self, folder: Path, *, finite: bool = True) -> None:
        """Raise unless denoiser and codes are there and whole."""
        checking.check_folder(folder, LAYOUT, finite=finite)
        if wrong := wrong_with(folder / CODES, folder):
            raise ModelError(f"{say(folder)} is no whole digit model: {wrong}.")

    def open(self, folder: Path, device: str = "cpu") -> Digits:
        """The model in float32; it is small and computes on the CPU alone."""
        self.check(folder, finite=False)
        if device != "cpu":
            raise ModelError(f"the digit model computes on the CPU; set runtime.device=cpu instead of {device}.")
        return Digits.load(folder)

    def write(self, source: Path, weights: Mapping[str, torch.Tensor], out: Path) -> tuple[str, ...]:
        """Write the folder with another denoiser."""
        self.check(source, finite=False)
        left_out = writing.write_edited(source, weights, out, LAYOUT)
        shutil.copyfile(source / CODES, out / CODES)
        return tuple(name for name in left_out if name != CODES)


PLUGIN = DigitsFolder
