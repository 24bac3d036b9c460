"""The embeddings as files: textual inversions (Gal et al., 2022, arXiv:2208.01618) as diffusers has them."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..files import write_tensors
from .sets import InversionSet


def stems(concepts: Iterable[str]) -> dict[str, str]:
    """A name for each concept that any file system and any tokenizer takes, no two the same: `Van Gogh` -> `van-gogh`."""
    taken: dict[str, str] = {}
    for concept in dict.fromkeys(concepts):
        plain = re.sub(r"[^a-z0-9]+", "-", concept.lower()).strip("-") or "concept"
        stem, number = plain, 2
        while stem in taken.values():
            stem, number = f"{plain}-{number}", number + 1
        taken[concept] = stem
    return taken


def write_embeddings(sets: Mapping[str, InversionSet], tokens: int, folder: Path) -> dict[str, dict[str, str]]:
    """`embeddings/<role>/<concept>-<number>.safetensors` in `folder` for each embedding that draws its concept.

    A file has the tokens (m, E) of its placeholder, `<bomb-tune-3>`. After `pipe.load_textual_inversion(file)` the prompt
    "a <bomb-tune-3>" equals the embedding in the template `a {}`.

    sets: by role, their points (K, m * E) with m = `tokens`. Returns placeholder and file by the embedding's name.
    """
    written = {}
    names = stems(item.concept for found in sets.values() for item in found.found)
    for role, inversions in sets.items():
        numbers = dict.fromkeys(names, 0)  # those that failed are counted, so that a number is a slot
        for item, point in zip(inversions.found, inversions.points, strict=True):
            numbers[item.concept] += 1
            if not item.accepted:
                continue
            stem, number = names[item.concept], numbers[item.concept]
            placeholder, file = f"<{stem}-{role}-{number}>", f"embeddings/{role}/{stem}-{number}.safetensors"
            about = {"name": item.name, "concept": item.concept}
            write_tensors({placeholder: point.reshape(tokens, -1)}, folder / file, about)
            written[item.name] = {"placeholder": placeholder, "file": file}
    return written
