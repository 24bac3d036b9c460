"""Writing an edited pipeline: the known files of the known parts are copied, everything else is left out and named."""

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import KeyMismatch, ModelError
from ..files import write_tensors
from .checking import check_folder, read_index
from .layout import FILES, STABLE_DIFFUSION, Layout, Part, named
from .locating import locate
from .reading import Weights, read_config, say, weights_of, wrong_with

LEGAL = ("license", "licence", "notice", "copying")
LEGAL_ENDINGS = ("", ".txt", ".md", ".rst")
LARGEST_LEGAL = 2**20
RENAMED = {"CLIPFeatureExtractor": "CLIPImageProcessor"}  # transformers 5 has no longer the old name


def write_edited(
    source: str | Path, weights: Mapping[str, torch.Tensor], out: Path, layout: Layout = STABLE_DIFFUSION
) -> tuple[str, ...]:
    """Write the pipeline in folder `source` to `out` with other weights of the edited part; return the omitted files.

    Only the known files of the parts that `model_index.json` names are written, and licence texts. Everything is a
    copy: a link would let what happens to `out` (a cache that write-protects its files) happen to the user's own model.
    The edited weights have the precision of the file that was opened. `out` is expected to be a fresh, unfinished path.
    """
    folder = locate(source)
    check_folder(folder, layout, finite=False)
    index = read_index(folder)
    copies = _copies(folder, index, layout)
    for inside, original in copies.items():
        target = out / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(original, target)
    kept = {inside.split("/")[0] for inside in copies}
    _write_index(out, folder, index, layout, kept)
    opened = weights_of(folder / layout.edited, layout.parts[layout.edited].stem, folder)
    edited = out / layout.edited / f"{layout.parts[layout.edited].stem}.safetensors"
    write_tensors(_stored(weights, opened), edited, {"format": "pt"})
    settle_defaults(out, layout)
    # The card is written anew, and the edited weights are the only file that replaces others.
    used = {*copies.values(), folder / "model_index.json", *opened.files, *([opened.index] if opened.index else [])}
    return tuple(_others(folder, used, set(layout.parts)))


def _copies(folder: Path, index: Mapping[str, Any], layout: Layout) -> dict[str, Path]:
    """The files to copy: name in the result -> file of the source."""
    copies = {name: folder / name for name in legal(folder)}
    for name in named(index):
        if name in layout.parts:
            copies |= _files_of(folder, name, layout.parts[name], edited=name == layout.edited)
    return copies


def _files_of(folder: Path, name: str, part: Part, *, edited: bool) -> dict[str, Path]:
    """The known files of one part; an optional part that is not whole has none."""
    try:
        found = [folder / name / file for file in FILES[part.kind]]
        files = {f"{name}/{path.name}": path for path in found if wrong_with(path, folder) is None}
        if part.kind != "network" or edited:
            return files
        if f"{name}/config.json" not in files:
            raise ModelError(f"{say(folder / name)} has no config.json.")
        weights = weights_of(folder / name, part.stem, folder)
        weights.names()
        return files | _weight_names(name, part.stem, weights)
    except (ModelError, OSError):
        if part.needed:
            raise
        return {}


def _weight_names(name: str, stem: str, weights: Weights) -> dict[str, Path]:
    """The files of an unedited network under names that are opened without naming a variant."""
    if weights.index is None:
        return {f"{name}/{stem}.safetensors": weights.files[0]}
    shards = {f"{name}/{path.name}": path for path in weights.files}
    return {f"{name}/{stem}.safetensors.index.json": weights.index, **shards}


def legal(folder: Path) -> list[str]:
    """Licence and notice texts in the root of the folder: small files of text."""
    names = []
    for path in sorted(folder.iterdir()):
        stem = path.name.partition(".")[0].lower()
        if stem.startswith(LEGAL) and path.suffix.lower() in LEGAL_ENDINGS and wrong_with(path, folder) is None:
            content = path.read_bytes() if path.stat().st_size <= LARGEST_LEGAL else b"\0"
            if b"\0" not in content:
                names.append(path.name)
    return names


def _write_index(out: Path, folder: Path, index: Mapping[str, Any], layout: Layout, kept: set[str]) -> None:
    """The index of the parts that were written; it stays the same bytes if that is all of them."""
    written = dict(index)
    for name, (library, kind) in named(index).items():
        if name not in layout.parts:
            del written[name]
        elif name not in kept:
            written[name] = [None, None]
        else:
            written[name] = [library, RENAMED.get(kind, kind)]
    if "safety_checker" in written and "safety_checker" not in kept:
        written["requires_safety_checker"] = False
    if written == index:
        shutil.copyfile(folder / "model_index.json", out / "model_index.json")
    else:
        _write_config(out / "model_index.json", written)


def _write_config(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _stored(weights: Mapping[str, torch.Tensor], opened: Weights) -> dict[str, torch.Tensor]:
    """`weights` in the precision in which each is stored."""
    precision = {key: tensor.dtype for key, tensor in opened.tensors()}
    if missing := sorted(precision.keys() - weights.keys()):
        raise KeyMismatch(f"the edited weights lack {missing[:3]}; are they of the same model?")
    usual = Counter(precision.values()).most_common(1)[0][0]
    return {key: value.to(precision.get(key, usual)) for key, value in weights.items()}


def settle_defaults(folder: Path, layout: Layout = STABLE_DIFFUSION) -> None:
    """Let the parts of a written folder agree when each library opens its own with its defaults.

    diffusers opens weights of any precision in float32, transformers in the precision that the configuration names, or
    else in the stored one. So the configuration names float32; the weights stay as they are. A tokenizer without a
    limit gets the text encoder's, since its own default is a number of 31 digits.
    """
    for name, part in layout.parts.items():
        path = folder / name / "config.json"
        if part.kind == "network" and part.library != "diffusers" and path.is_file():
            config = read_config(path, folder, f"the part `{name}` of {say(folder)} is incomplete")
            settled = {**_in_float32(config), "dtype": "float32"}
            if settled != config:
                _write_config(path, settled)
    _settle_tokenizer(folder)


def _in_float32(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration that names no other precision, at any level."""
    named_here = {key: value for key, value in config.items() if key != "torch_dtype"}
    if "dtype" in named_here:
        named_here["dtype"] = "float32"
    return {key: _in_float32(value) if isinstance(value, dict) else value for key, value in named_here.items()}


def _settle_tokenizer(folder: Path) -> None:
    path, encoder = folder / "tokenizer" / "tokenizer_config.json", folder / "text_encoder" / "config.json"
    if not (encoder.is_file() and path.parent.is_dir()):
        return
    longest = read_config(encoder, folder, "the text encoder cannot be read").get("max_position_embeddings")
    config = read_config(path, folder, "the tokenizer cannot be read") if path.is_file() else {}
    limit = config.get("model_max_length")
    if isinstance(longest, int) and not (isinstance(limit, int) and limit <= longest):
        _write_config(path, {**config, "model_max_length": longest})


def _others(folder: Path, used: set[Path], parts: set[str]) -> list[str]:
    """Every file of the source that was not used; a foreign folder is one entry."""
    found = []
    for item in sorted(folder.iterdir()):
        if item.name in parts and item.is_dir() and not item.is_symlink():
            inner = [path for path in sorted(item.iterdir()) if path not in used]
            found += [f"{item.name}/{path.name}{_slash(path)}" for path in inner]
        elif item not in used:
            found.append(f"{item.name}{_slash(item)}")
    return [say(name) for name in found]


def _slash(path: Path) -> str:
    return "/" if path.is_dir() and not path.is_symlink() else ""
