"""Digits: the model of handwritten digits whose input is a point of a sphere."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch

from ..errors import ModelError, TveraseError
from ..settings import Settings
from . import checking, writing
from .digits import CLASSES, CODES, KIND, Digits
from .layout import Layout, Part
from .reading import Weights, first_line, say, wrong_with

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
        _check_codes(folder / CODES)

    def open(self, folder: Path, device: str = "cpu") -> Digits:
        """The model in float32; it is small and computes on the CPU alone."""
        self.check(folder, finite=False)
        if device != "cpu":
            raise ModelError(f"the digit model computes on the CPU; set runtime.device=cpu instead of {device}.")
        try:
            model = Digits.load(folder)
            _try_out(model)
        except TveraseError:
            raise
        except Exception as error:  # a wrong value in a config raises errors of many types
            raise ModelError(f"{say(folder)} could not be opened as a digit model: {first_line(error)}") from error
        return model

    def write(self, source: Path, weights: Mapping[str, torch.Tensor], out: Path) -> tuple[str, ...]:
        """Write the folder with another denoiser."""
        self.check(source, finite=False)
        left_out = writing.write_edited(source, weights, out, LAYOUT)
        shutil.copyfile(source / CODES, out / CODES)
        return tuple(name for name in left_out if name != CODES)


PLUGIN = DigitsFolder


def _check_codes(file: Path) -> None:
    """A code for each digit, and the map from there into the time embedding, all of them finite."""
    found = Weights((file,))
    if sorted(found.names()) != ["codes", "into_time"]:
        raise ModelError(f"{say(file)} holds {sorted(found.names())[:4]}; expected codes and into_time.")
    found.require_finite()
    shapes = {key: tuple(tensor.shape) for key, tensor in found.tensors()}
    codes, into_time = shapes["codes"], shapes["into_time"]
    if len(codes) != 2 or len(into_time) != 2 or codes[0] != len(CLASSES) or codes[1] != into_time[1]:
        raise ModelError(
            f"{say(file)} has codes of the shape {codes} and a map of the shape {into_time}; expected ({len(CLASSES)}, d) and (n, d)."
        )


@torch.no_grad()
def _try_out(model: Digits) -> None:
    """One step, so that parts that do not fit together are found at once."""
    noise = model.start(1, torch.Generator().manual_seed(0))
    if not bool(torch.isfinite(model.denoise(noise, torch.tensor([1]), model.codes[:1])).all()):
        raise ValueError("its answer to plain noise is NaN or infinite")
    model.meter.evaluations = 0
