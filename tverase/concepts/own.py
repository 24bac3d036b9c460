"""Own images of a concept or of its retain set: a folder of pictures, with captions for the retain set."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import ConfigError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def image_files(folder: Path) -> list[Path]:
    """The pictures of a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def require_images(folder: Path, place: str) -> Path:
    """The folder itself; a `ConfigError` if it is missing, unreadable or holds no picture."""
    try:
        found = image_files(folder)
    except OSError as error:
        raise ConfigError(f"{place}: the images folder {folder} cannot be read ({type(error).__name__}).") from None
    if not found:
        raise ConfigError(f"{place}: the images folder {folder} holds no picture; expected {', '.join(SUFFIXES)}.")
    return folder


def captioned(folder: Path) -> dict[Path, str]:
    """Picture to caption, which is in the text file of the same name: `cat.png` and `cat.txt`."""
    found = {}
    for path in image_files(folder):
        note = path.with_suffix(".txt")
        try:
            found[path] = " ".join(note.read_text(encoding="utf-8-sig").split())
        except (OSError, UnicodeDecodeError):
            raise ConfigError(f"{path} has no readable caption; write its caption into {note}.") from None
        if not found[path]:
            raise ConfigError(f"{note} is empty; write the caption of {path.name} into it.")
    return found


def read_images(paths: Sequence[Path], height: int, width: int) -> Tensor:
    """Pictures as (B, 3, height, width) in [-1, 1], cropped around their centre and resized."""
    from PIL import Image, ImageOps

    rows = []
    for path in paths:
        try:
            with Image.open(path) as image:
                whole = ImageOps.exif_transpose(image).convert("RGB")
                fitted = ImageOps.fit(whole, (width, height), Image.Resampling.LANCZOS)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ConfigError(f"{path} cannot be read as a picture ({type(error).__name__}); replace it.") from None
        flat = torch.frombuffer(bytearray(fitted.tobytes()), dtype=torch.uint8)
        rows.append(flat.view(height, width, 3).permute(2, 0, 1))
    return torch.stack(rows).float() / 127.5 - 1
