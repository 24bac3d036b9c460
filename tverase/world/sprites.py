"""Sprite sheets: every object in every style as one RGBA picture, and their index."""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import DataError
from .packages import ICON_SETS, fetch, read_json
from .vocabulary import Vocabulary

SIZE = 64  # pixels of a vocabulary sprite; others are half of it
COLUMNS = 16


@dataclass(frozen=True)
class Sprites:
    """What the world is drawn from. Values lie in [0, 1], colours are premultiplied by alpha.

    objects: (objects, styles, 4, 64, 64); others: (others, styles, 4, 64, 64), things that have no name here.
    """

    objects: Tensor
    others: Tensor
    index: dict[str, Any]


def load_sprites(folder: Path) -> Sprites:
    """Read what `build_sprites` wrote, and check every sheet against the index."""
    index_path = folder / "index.json"
    if not index_path.exists():
        raise DataError(f"{index_path} is missing; run `python -m tasks prepare_data` to make it.")
    try:
        index = json.loads(index_path.read_text(encoding="utf-8"))
        _ = index["styles"], index["objects"], index["others"], index["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{index_path} is damaged ({error}); `git checkout {folder}` or rebuild it.") from error
    for name, digest in index["sha256"].items():
        path = folder / name
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise DataError(f"{path} is missing or damaged; `git checkout {folder}` or rebuild it.")
    styles, count = index["styles"], len(index["objects"])
    objects = [_cut(folder / f"objects-{style}.png", count, SIZE) for style in styles]
    others = [_cut(folder / f"others-{style}.png", len(index["others"]), SIZE // 2) for style in styles]
    wide = [torch.nn.functional.interpolate(sheet, size=SIZE, mode="bilinear") for sheet in others]
    return Sprites(torch.stack(objects, 1), torch.stack(wide, 1), index)


def build_sprites(words: Vocabulary, tarballs: Path, out: Path, others: int = 128) -> None:
    """Rasterise the icons of `words`, and `others` more that have no name, into `out`.

    Needs the extra `data` (resvg-py) and, unless `tarballs` already holds the packages, npm and a network.
    """
    sets = {style: read_json(fetch(ICON_SETS[style], tarballs), "icons.json") for style in words.styles}
    wanted = [thing.icon for thing in words.objects.values()]
    common = sorted(set.intersection(*(set(icons["icons"]) for icons in sets.values())))
    if missing := [icon for icon in wanted if icon not in common]:
        raise DataError(f"these icons are not in all of {', '.join(sets)}: {', '.join(missing)}")
    rest = [icon for icon in common if icon not in wanted and not _symbolic(icon)]
    spread = [rest[i * len(rest) // others] for i in range(others)]
    digests = {}
    for style, icons in sets.items():
        for kind, names, size in (("objects", wanted, SIZE), ("others", spread, SIZE // 2)):
            png = _sheet([_raster(icons, name, size) for name in names], size)
            (out / f"{kind}-{style}.png").write_bytes(png)
            digests[f"{kind}-{style}.png"] = hashlib.sha256(png).hexdigest()
    index = {
        "objects": list(words.names),
        "icons": wanted,
        "others": spread,
        "styles": list(words.styles),
        "sha256": digests,
        "sources": [{"style": s, **vars(ICON_SETS[s])} for s in words.styles],
    }
    (out / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def _symbolic(icon: str) -> bool:
    """Buttons, clocks, keycaps and signs are all alike; they would teach the judge little."""
    words = ("button", "keycap", "-thirty", "-oclock", "arrow", "square", "circle", "sign", "man-", "face")
    return any(word in icon for word in words)


def _raster(icons: dict[str, Any], name: str, size: int) -> Image.Image:
    """One icon as RGBA, `size` pixels wide."""
    import resvg_py

    icon = icons["icons"][name]
    left, top = icon.get("left", 0), icon.get("top", 0)
    width, height = icon.get("width", icons.get("width", 16)), icon.get("height", icons.get("height", 16))
    body = icon["body"].replace("currentColor", "#111111")
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{size}" height="{size}" viewBox="{left} {top} {width} {height}">{body}</svg>'
    )
    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size)
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")


def _sheet(sprites: list[Image.Image], size: int) -> bytes:
    rows = -(-len(sprites) // COLUMNS)
    sheet = Image.new("RGBA", (COLUMNS * size, rows * size))
    for i, sprite in enumerate(sprites):
        sheet.paste(sprite, (i % COLUMNS * size, i // COLUMNS * size))
    stream = io.BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _cut(path: Path, count: int, size: int) -> Tensor:
    """The sheet's sprites, premultiplied, (count, 4, size, size)."""
    pixels = torch.from_numpy(np.array(Image.open(path).convert("RGBA"), dtype=np.float32) / 255)
    rows = pixels.shape[0] // size
    tiles = pixels.view(rows, size, COLUMNS, size, 4).permute(0, 2, 4, 1, 3).reshape(-1, 4, size, size)[:count]
    colour, alpha = tiles[:, :3], tiles[:, 3:]
    return torch.cat([colour * alpha, alpha], 1)
