"""Images as bytes: single ones for the page, strips and before/after sheets as files."""

import io
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from ..concepts import slug
from ..files import writing
from .facts import Facts

SMALL = 64  # up to this size pixels are kept as they are
THUMBNAIL = 192  # larger images are shown at this size
SHOWN = 96  # pixels on the page
GAP = 2


def png(image: Tensor) -> bytes:
    """One image, uint8 (3, H, W) or (4, H, W) with alpha, as PNG."""
    return _encode(image, "PNG")


def data_uri(image: Tensor) -> str:
    """One image, uint8 (3, H, W), for an `src`: small ones pixel by pixel, large ones as a thumbnail."""
    small = max(image.shape[1:]) <= SMALL
    content = png(image) if small else _encode(shrink(image[None], THUMBNAIL)[0], "WEBP", quality=85)
    return f"data:image/{'png' if small else 'webp'};base64,{b64encode(content).decode()}"


def shrink(images: Tensor, most: int) -> Tensor:
    """Images uint8 (n, C, H, W), no side longer than `most`; those that are shorter stay as they are."""
    height, width = images.shape[2:]
    factor = most / max(height, width)
    if factor >= 1:
        return images
    size = [max(1, round(height * factor)), max(1, round(width * factor))]
    return functional.interpolate(images.float(), size=size, mode="area").round().to(torch.uint8)


def enlarge(images: Tensor, least: int = SHOWN) -> Tensor:
    """Small images (n, C, H, W) with every pixel repeated, until they are about `least` pixels wide."""
    times = max(1, round(least / images.shape[3])) if images.shape[3] <= SMALL else 1
    return images.repeat_interleave(times, 2).repeat_interleave(times, 3)


def strip(images: Tensor, gap: int = GAP) -> Tensor:
    """Images uint8 (n, 3, H, W) side by side, (4, H, W'), with transparent gaps."""
    opaque = torch.cat([images, torch.full_like(images[:, :1], 255)], 1)
    padded = functional.pad(opaque, (0, gap))
    return torch.cat(list(padded), 2)[:, :, : padded.shape[3] * len(images) - gap]


def pair_sheet(before: Tensor, after: Tensor, gap: int = GAP) -> Tensor:
    """Before above after, each a strip of images uint8 (n, 3, H, W); (4, H', W') with transparent gaps."""
    above = functional.pad(strip(before, gap), (0, 0, 0, gap))
    return torch.cat([above, strip(after, gap)], 1)


def sheets(facts: Facts) -> dict[str, tuple[Tensor, Tensor]]:
    """Before and after of each row and of the retain set, by what they show: `bomb-attack-attempt-2`, `retain-set`."""
    names = {f"row/{i}": _name(row) for i, row in enumerate(facts.summary["rows"])} | {"retain": "retain-set"}
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for key, name in names.items():
        before, after = (facts.pictures.get(f"{key}/{side}") for side in ("before", "after"))
        if before is not None and after is not None and len(before) and len(after):
            found[name if name not in found else f"{name}-{key.replace('/', '-')}"] = (before, after)
    return found


def _name(row: Mapping[str, Any]) -> str:
    return slug(f"{row['concept']} {row['kind']} {row['input'].removeprefix(row['concept'] + '/')}")


def write_sheets(facts: Facts, folder: Path) -> None:
    """One PNG for each row and one of the retain set: before above after."""
    for name, (before, after) in sheets(facts).items():
        images = [enlarge(shrink(side, THUMBNAIL)) for side in (before, after)]
        with writing(folder / f"{name}.png") as aside:
            aside.write_bytes(png(pair_sheet(images[0], images[1], gap=6)))


def _encode(image: Tensor, kind: str, **options: bool | int) -> bytes:
    buffer = io.BytesIO()
    array = image.permute(1, 2, 0).contiguous().cpu().numpy()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()
