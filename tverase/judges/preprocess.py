"""What a pretrained network expects of its images, from its folder's processor settings, computed in torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import ModelError
from .folder import read_config

RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # PIL's numbers
UNKNOWN = ("include_top", "rescale_offset", "do_reduce_labels", "do_flip_channel_order", "do_pad", "do_split_image")


@dataclass(frozen=True)
class Preprocess:
    """Resize, crop the centre, scale to mean 0 and spread 1."""

    resize: tuple[int, int] | int | None  # height and width, or the shorter edge
    crop: tuple[int, int] | None
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    mode: str = "bicubic"

    @classmethod
    def of(cls, folder: Path) -> Self:
        """As `preprocessor_config.json` or `processor_config.json` says."""
        path = folder / "preprocessor_config.json"
        if not path.exists() and (folder / "processor_config.json").exists():
            path = folder / "processor_config.json"
        content = read_config(path)
        content = content.get("image_processor", content)
        try:
            return cls.parse(content)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{path} has settings that are not understood ({error}).") from error

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> Self:
        """The settings of an image processor; a `ValueError` names an unsupported one."""
        if odd := [key for key in UNKNOWN if content.get(key)]:
            raise ValueError(f"{odd[0]} is not supported; write a judge of kind `python` around this model")
        if content.get("do_rescale", True) and abs(content.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-3:
            raise ValueError(f"a rescale_factor of {content['rescale_factor']} is not supported; expected 1/255")
        resize = _edges(content["size"]) if content.get("do_resize", True) else None
        crop = None
        if content.get("do_center_crop"):
            crop = _pair(content.get("crop_size", content.get("size")))
        elif isinstance(resize, int) and content.get("crop_pct"):  # ConvNeXt: enlarge first, then crop
            resize, crop = (
                (int(resize / content["crop_pct"]), (resize, resize)) if resize < 384 else (_both(resize), None)
            )
        normal = content.get("do_normalize", True)
        return cls(
            resize,
            crop,
            tuple(content["image_mean"]) if normal else (0.0, 0.0, 0.0),
            tuple(content["image_std"]) if normal else (1.0, 1.0, 1.0),
            RESAMPLING[int(content.get("resample", 3))],
        )

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> what the network takes."""
        pixels = ((images.float() + 1) / 2).clamp(0, 1)
        if self.resize is not None:
            pixels = self._resized(pixels)
        if self.crop is not None:
            pixels = _cropped(pixels, *self.crop)
        mean, std = (torch.tensor(values, device=pixels.device).view(3, 1, 1) for values in (self.mean, self.std))
        return (pixels - mean) / std

    def _resized(self, pixels: Tensor) -> Tensor:
        high, wide = pixels.shape[-2:]
        if isinstance(self.resize, int):
            short = min(high, wide)
            size = (high * self.resize // short, wide * self.resize // short)
        else:
            assert self.resize is not None
            size = self.resize
        if size == (high, wide):
            return pixels
        if self.mode == "nearest":
            return functional.interpolate(pixels, size=size, mode="nearest-exact")
        larger = functional.interpolate(pixels, size=size, mode=self.mode, align_corners=False, antialias=True)
        return larger.clamp(0, 1)


def _cropped(pixels: Tensor, high: int, wide: int) -> Tensor:
    """The centre; a smaller image gets a black border."""
    down, right = max(0, high - pixels.shape[-2]), max(0, wide - pixels.shape[-1])
    if down or right:
        pixels = functional.pad(pixels, ((right + 1) // 2, right // 2, (down + 1) // 2, down // 2))
    top, left = (pixels.shape[-2] - high) // 2, (pixels.shape[-1] - wide) // 2
    return pixels[..., top : top + high, left : left + wide]


def _edges(size: Any) -> tuple[int, int] | int:
    if isinstance(size, int):
        return size
    if isinstance(size, Mapping) and set(size) == {"shortest_edge"}:
        return int(size["shortest_edge"])
    return _pair(size)


def _pair(size: Any) -> tuple[int, int]:
    if isinstance(size, int):
        return _both(size)
    if isinstance(size, Mapping) and {"height", "width"} <= set(size):
        return int(size["height"]), int(size["width"])
    if isinstance(size, Mapping) and set(size) == {"shortest_edge"}:
        return _both(int(size["shortest_edge"]))
    raise ValueError(f"a size of {size!r} is not supported; expected height and width, or shortest_edge")


def _both(edge: int) -> tuple[int, int]:
    return edge, edge
