"""`tverase draw`: one prompt, both models, the same noise."""

import sys
from pathlib import Path

import torch
from PIL import Image

from tasks._main import set_threads
from tverase.config import Params
from tverase.errors import ConfigError, DataError
from tverase.files import writing
from tverase.images import to_bytes
from tverase.models.base import Model, repeated
from tverase.models.folder import open_model
from tverase.rng import generator
from tverase.sampling import draw

KINDS = ("PNG", "JPEG", "WEBP")
SCALE = 4  # the embedded model's images are 32 pixels wide


def side_by_side(params: Params, prompt: str, count: int, seed: int, out: Path) -> Path:
    """Write a picture, in the format of its suffix, with the base model's images above the erased model's; its path."""
    kind = Image.registered_extensions().get(out.suffix.lower())
    if kind not in KINDS:
        raise ConfigError(f"--out {out} has no suffix of a picture that can be written; choose .png, .jpg or .webp.")
    set_threads(params)
    folder = params.out / "erased"
    if not folder.exists():
        raise DataError(f"{folder} is not there yet; run `tverase run` first.")
    rows = []
    for where in (params.model, folder):
        model = open_model(where, params.runtime.device)
        if not rows:
            _say_what_is_cut(model, prompt)
        cond = repeated(model.encode([prompt]), count)
        images = to_bytes(draw(model, cond, generator(seed, f"draw/{prompt}"), params.sampling))
        rows.append(torch.cat(list(images), dim=2))
    sheet = Image.fromarray(torch.cat(rows, dim=1).permute(1, 2, 0).numpy())
    scale = SCALE if images.shape[-1] <= 64 else 1
    with writing(out) as aside:
        sheet.resize((sheet.width * scale, sheet.height * scale), Image.Resampling.NEAREST).save(aside, kind)
    return out


def _say_what_is_cut(model: Model, prompt: str) -> None:
    """A text encoder reads so many tokens and no more, which is not to be seen in a picture."""
    overflow = getattr(model, "overflow", None)  # models without a tokenizer cut nothing
    for _, lost in overflow([prompt]) if overflow is not None else ():
        sys.stderr.write(
            f"warning: the last {lost} tokens of the prompt are lost, because the text encoder takes no more.\n"
        )
