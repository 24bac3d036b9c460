"""Makers of odd model folders, for the tests that refuse, open and write them."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tverase.files import sha256

UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


def config(path: Path, **changes: Any) -> None:
    """Change a JSON file; `...` removes a key."""
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))


def tensors(path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    save_file({key: value.contiguous() for key, value in change(load_file(path)).items()}, path, {"format": "pt"})


def spoiled(path: Path, value: float) -> None:
    """One entry of the last tensor is `value`."""

    def change(found: dict[str, Tensor]) -> dict[str, Tensor]:
        found[max(found)].view(-1)[-1] = value
        return found

    tensors(path, change)


def deep(levels: int, brackets: str) -> str:
    left, right = ('{"a":', "}") if brackets == "{}" else ("[", "]")
    return left * levels + "1" + right * levels


def fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def linked(path: Path, target: Path) -> None:
    """`path` moved to `target`, and a link in its place."""
    shutil.move(path, target)
    path.symlink_to(target)


def more(path: Path, key: str) -> None:
    tensors(path, lambda t: {**t, key: torch.ones(2, 2)})


def own_class(folder: Path, part: str, library: str, name: str) -> None:
    """A class that lies in the folder as Python source."""
    (folder / part).mkdir(exist_ok=True)
    (folder / part / f"{library}.py").write_text(f"open('RAN', 'w').close()\nclass {name}: pass\n")
    config(folder / "model_index.json", **{part: [library, name]})


def hub_cache(model: Path, root: Path) -> Path:
    """`model` as the Hugging Face cache keeps it: links to blobs named by their content."""
    repository = root / "models--owner--name"
    snapshot = repository / "snapshots" / "0123abcd"
    (repository / "blobs").mkdir(parents=True)
    for file in [p for p in model.rglob("*") if p.is_file()]:
        blob, link = repository / "blobs" / sha256(file), snapshot / file.relative_to(model)
        shutil.copy(file, blob)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot


def in_precision(path: Path, dtype: torch.dtype) -> None:
    tensors(path, lambda t: {key: value.to(dtype) for key, value in t.items()})


def sharded(path: Path, *, first: str = "") -> None:
    """The weights of `path` in two files and an index."""
    found = load_file(path)
    names = [path.name.replace(".safetensors", f"-0000{n}-of-00002.safetensors") for n in (1, 2)]
    halves: list[dict[str, Tensor]] = [{}, {}]
    for number, key in enumerate(sorted(found)):
        halves[number % 2][key] = found[key]
    for name, half in zip(names, halves, strict=True):
        save_file(half, path.with_name(name), {"format": "pt"})
    listed = {key: first or name for name, half in zip(names, halves, strict=True) for key in half}
    path.with_name(path.name + ".index.json").write_text(json.dumps({"metadata": {}, "weight_map": listed}))
    path.unlink()
