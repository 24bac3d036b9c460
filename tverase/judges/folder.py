"""Folders of pretrained judges: found or fetched, and checked before anything is built from them."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..errors import ConfigError, ModelError, NetworkError, UnsafeWeights
from ..files import sha256

PICKLED = {".bin", ".ckpt", ".pt", ".pth", ".pkl"}
FETCHED = ["*.json", "*.txt", "*.safetensors"]  # no pickled weights, no code


def located(where: str) -> Path:
    """The folder itself, or the cached copy of a hub id, fetched if need be; checked by `check`."""
    folder = Path(where)
    if not folder.exists():
        folder = _fetched(where)
    check(folder)
    return folder


def check(folder: Path) -> None:
    """Raise unless the folder has a readable config.json and whole safetensors weights."""
    if not folder.is_dir():
        raise ModelError(f"{folder} is not a folder; expected one with config.json and model.safetensors.")
    read_config(folder / "config.json")
    files = weights_in(folder)
    if not files:
        if pickled := sorted(p.name for p in folder.iterdir() if p.suffix in PICKLED):
            raise UnsafeWeights(
                f"{folder} has only pickled weights ({pickled[0]}); opening them could run code. Convert them to "
                "safetensors on a machine that you can lose, or choose a judge that ships safetensors."
            )
        raise ModelError(f"{folder} has no safetensors weights; the folder is incomplete, fetch it again.")
    for file in files:
        check_weights(file)


def check_weights(file: Path) -> None:
    """Raise unless a file is safetensors and not empty."""
    if file.suffix in PICKLED:
        raise UnsafeWeights(f"{file} has pickled weights; opening them could run code. Expected a .safetensors file.")
    if not file.is_file():
        raise ModelError(f"{file} is not there; expected a .safetensors file.")
    try:
        with safe_open(file, framework="pt") as handle:
            if not list(handle.keys()):
                raise ModelError(f"{file} is empty; fetch it again.")
    except SafetensorError as error:
        raise ModelError(f"{file} is damaged or not safetensors ({error}); fetch it again.") from error


def weights_in(folder: Path) -> list[Path]:
    """The safetensors files of a folder."""
    return sorted(folder.glob("*.safetensors"))


def read_config(path: Path) -> dict[str, Any]:
    """A JSON object; a `ModelError` if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} is missing; the folder is incomplete, fetch it again.") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}).") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds {type(content).__name__}; expected a JSON object.")
    return content


def version_of(*files: Path) -> str:
    """The first eight digits of the sha256 of some files: the version in a judge's name."""
    if len(files) == 1:
        return sha256(files[0])[:8]
    return hashlib.sha256("".join(sha256(file) for file in files).encode()).hexdigest()[:8]


def local_files(where: str, name: str) -> dict[str, Path]:
    """A folder or file as a step's input; a hub id has nothing here that could change."""
    return {name: Path(where)} if Path(where).exists() else {}


@contextmanager
def opening(what: str) -> Iterator[None]:
    """Turn what a library raises while it opens `what` into a `ModelError`, in one sentence."""
    try:
        yield
    except (ConfigError, ModelError, NetworkError):
        raise
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{what}: {first_line(error)}") from error


def whole(info: dict[str, Any], folder: Path) -> None:
    """Raise if transformers left parameters of a model as they were drawn."""
    if lost := sorted(info.get("missing_keys", ())) or sorted(str(key) for key in info.get("mismatched_keys", ())):
        raise ModelError(f"the weights in {folder} lack {lost[0]} and {len(lost) - 1} more; fetch the folder again.")


def first_line(error: BaseException) -> str:
    """What an error says, shortened to a sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _fetched(name: str) -> Path:
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(f"{name} is not there; give a folder, or a hub id such as `owner/name`.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(name, allow_patterns=FETCHED, ignore_patterns=["*/*"]))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise NetworkError(f"{name} is no folder here and was not fetched from the hub: {first_line(error)}") from error
