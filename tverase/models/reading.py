"""Reading the files of a model folder without trusting them: regular files only, no links out, JSON within limits."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import ModelError, UnsafeWeights

PICKLED = {".bin", ".ckpt", ".pt", ".pth", ".pkl"}
LARGEST_JSON = 64 * 2**20
DEEPEST_JSON = 64
COUNTED = ("position_ids", "num_batches_tracked")  # stored beside weights, and whole numbers


def say(path: Path | str) -> str:
    """A path for a message: a name that is not UTF-8 is escaped."""
    try:
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return str(path).encode("utf-8", "backslashreplace").decode()


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def wrong_with(path: Path, folder: Path) -> str | None:
    """Why the file `path` of the model in `folder` is not to be read, or None. It follows no link out of the folder.

    A link may point to a file of the same kind beside it. In a snapshot of the Hugging Face cache it may point to a blob of
    the same repository.
    """
    try:
        return _wrong_with(path, folder)
    except (OSError, RuntimeError, ValueError) as error:
        return f"{say(path)} cannot be read ({first_line(error)}); put the real file in its place"


def _wrong_with(path: Path, folder: Path) -> str | None:
    if path.parent != folder and path.parent.is_symlink():
        return f"{say(path.parent)} is a link to another folder; put a copy of that folder in its place"
    if path.is_symlink():
        target = path.resolve()
        beside = target.parent == path.parent.resolve() and target.suffix == path.suffix
        if not beside and not _is_blob(target, folder):
            return f"{say(path)} is a link that leads out of its folder; put a copy of the file in its place"
    if not path.exists():
        return f"{say(path)} is missing"
    return None if path.is_file() else f"{say(path)} is no regular file; put the real file in its place"


def _is_blob(target: Path, folder: Path) -> bool:
    """Whether `target` is a blob of the hub cache's repository of which `folder` is a snapshot."""
    snapshots = folder.resolve().parent
    repository = snapshots.parent
    return (
        snapshots.name == "snapshots"
        and repository.name.startswith("models--")
        and target.parent == repository / "blobs"
    )


def read_config(path: Path, folder: Path, problem: str) -> dict[str, Any]:
    """A JSON object; anything else is a `ModelError` that begins with `problem`."""
    if wrong := wrong_with(path, folder):
        raise ModelError(f"{problem}: {wrong}.")
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ModelError(f"{problem}: {say(path)} is larger than {LARGEST_JSON >> 20} MB; fetch it again.")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{problem}: {say(path)} cannot be read ({first_line(error)}).") from error
    if not isinstance(content, dict):
        raise ModelError(f"{problem}: {say(path)} holds no JSON object, but a {type(content).__name__}.")
    if sum(1 for _ in _levels(content)) > DEEPEST_JSON:
        raise ModelError(f"{problem}: {say(path)} is nested more than {DEEPEST_JSON} levels deep.")
    return content


def _levels(content: Any) -> Iterator[list[Any]]:
    """The values of each level of a JSON value."""
    level = [content]
    while level:
        yield level
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]


def keys_of(content: Any) -> set[str]:
    """Every key of a JSON value, at any level."""
    return {key for level in _levels(content) for value in level if isinstance(value, dict) for key in value}


@dataclass(frozen=True)
class Weights:
    """The weight files of one network that its library opens: one file, or an index and its shards.

    variant: the word in their names, for folders that have nothing but a variant such as `fp16`.
    """

    files: tuple[Path, ...]
    index: Path | None = None
    variant: str | None = None

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor with its name, one at a time."""
        for file in self.files:
            try:
                with safe_open(file, framework="pt") as handle:
                    for key in handle.keys():
                        yield key, handle.get_tensor(key)
            except (SafetensorError, OSError, ValueError) as error:
                raise _damaged(file, error) from error

    def names(self) -> list[str]:
        """The names of all tensors, from the headers alone; one that holds no floating-point numbers is a `ModelError`."""
        found: list[str] = []
        for file in self.files:
            try:
                with safe_open(file, framework="pt") as handle:
                    types = {key: str(handle.get_slice(key).get_dtype()) for key in handle.keys()}
            except (SafetensorError, OSError, ValueError) as error:
                raise _damaged(file, error) from error
            if not types:
                raise ModelError(f"{say(file)} is empty; fetch it again.")
            for key, kind in types.items():
                if not kind.startswith(("F", "BF")) and not key.endswith(COUNTED):
                    raise ModelError(
                        f"the tensor {key} of {say(file)} is of the type {kind}, which is none of weights; save it in float16, "
                        "bfloat16 or float32."
                    )
            found += types
        return found

    def require_finite(self) -> None:
        """Raise `ModelError` with the name of the first tensor that holds NaN or infinity."""
        for key, tensor in self.tensors():
            require_finite(key, tensor, say(self.files[0].parent))


def require_finite(key: str, tensor: Tensor, where: str) -> None:
    """Raise `ModelError` if a floating-point tensor holds NaN or infinity."""
    if tensor.is_floating_point():
        wide = tensor if tensor.element_size() > 1 else tensor.float()  # 8-bit floats know no isfinite
        if not bool(torch.isfinite(wide).all()):
            raise ModelError(
                f"the weights of {where} are not finite: the tensor {key} holds NaN or infinity; fetch or make them again."
            )


def _damaged(file: Path, error: Exception) -> ModelError:
    return ModelError(f"{say(file)} is damaged or truncated ({first_line(error)}); fetch or make it again.")


def weights_of(part: Path, stem: str, folder: Path) -> Weights:
    """The weight files of the network in `part`; a `ModelError` says why there are none, or which are ambiguous."""
    plain, index = part / f"{stem}.safetensors", part / f"{stem}.safetensors.index.json"
    if os.path.lexists(plain) and os.path.lexists(index):
        raise ModelError(f"{say(part)} has both {plain.name} and {index.name}; keep the one that is meant.")
    if os.path.lexists(plain):
        return Weights((_checked(plain, folder),))
    if os.path.lexists(index):
        return _shards(index, part, folder, None)
    return _variant(part, stem, folder)


def _checked(file: Path, folder: Path) -> Path:
    if wrong := wrong_with(file, folder):
        raise ModelError(f"the weights of {say(folder)} cannot be opened: {wrong}.")
    return file


def _shards(index: Path, part: Path, folder: Path, variant: str | None) -> Weights:
    content = read_config(index, folder, f"the weights of {say(part)} are incomplete")
    listed = content.get("weight_map")
    names = set(listed.values()) if isinstance(listed, dict) and _all_text(listed.values()) else set()
    for name in names or {""}:
        if "/" in name or "\\" in name or name.startswith(".") or not name.endswith(".safetensors"):
            raise ModelError(f"{say(index)} lists {name!r}; expected names of safetensors files of its own folder.")
    return Weights(tuple(_checked(part / name, folder) for name in sorted(names)), index, variant)


def _all_text(values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


def _variant(part: Path, stem: str, folder: Path) -> Weights:
    """The only variant, if there are no weights without one."""
    names = sorted(p.name for p in part.iterdir())
    single = {
        n.split(".")[1]: n
        for n in names
        if n.startswith(f"{stem}.") and n.endswith(".safetensors") and n.count(".") == 2
    }
    sharded = {n.split(".")[3]: n for n in names if n.startswith(f"{stem}.safetensors.index.") and n.count(".") == 4}
    if len(found := sorted(single.keys() | sharded.keys())) == 1:
        word = found[0]
        if word in sharded:
            return _shards(part / sharded[word], part, folder, word)
        return Weights((_checked(part / single[word], folder),), None, word)
    if found:
        raise ModelError(
            f"{say(part)} has only the variants {', '.join(map(say, found))}; copy the one that is meant to {stem}.safetensors."
        )
    if pickled := [name for name in names if Path(name).suffix in PICKLED]:
        raise UnsafeWeights(
            f"{say(part)} has only pickled weights ({say(pickled[0])}); opening them could run code. Convert them on a "
            "machine that you can lose: `StableDiffusionPipeline.from_pretrained(...).save_pretrained(new, "
            "safe_serialization=True)`."
        )
    raise ModelError(
        f"{say(part)} has no safetensors weights, expected {stem}.safetensors; the folder is incomplete, fetch it again."
    )
