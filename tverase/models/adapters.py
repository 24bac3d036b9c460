"""Which adapter opens a model folder: model families are plug-ins, found by the class that `model_index.json` names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch

from .. import registry
from ..errors import ConfigError, ModelError
from .base import Model
from .checking import read_index
from .locating import locate
from .reading import say


class Adapter(Protocol):
    """A family of model folders. KINDS: the values of `_class_name` in `model_index.json` that it opens."""

    KINDS: tuple[str, ...]

    def check(self, folder: Path, *, finite: bool = True) -> None:
        """Raise `ModelError` unless `folder` can be opened. finite: also read every weight and refuse NaN and infinity."""
        ...

    def open(self, folder: Path, device: str) -> Model:
        """The model in float32 on a device."""
        ...

    def write(self, source: Path, weights: Mapping[str, torch.Tensor], out: Path) -> tuple[str, ...]:
        """Write the folder `source` to `out` with other denoiser weights; return the files that were left out."""
        ...


def open_model(where: str | Path, device: str = "cpu") -> Model:
    """The model in a folder, or with a hub id, as a `Model` in float32.

    Raises `ModelError` if it is missing, incomplete, damaged or of an unknown family. Raises `UnsafeWeights` if its weights
    are pickled, and `NetworkError` if it cannot be fetched.
    """
    folder = locate(where)
    return adapter_of(folder).open(folder, device)


def check_folder(folder: Path, *, finite: bool = True) -> None:
    """Raise `ModelError` unless `folder` is a whole model of a known family with safetensors weights and no code."""
    adapter_of(folder).check(folder, finite=finite)


def write_edited(source: str | Path, weights: Mapping[str, torch.Tensor], out: Path) -> tuple[str, ...]:
    """Write the model in folder `source` to `out` with other denoiser weights; return the files that were left out."""
    folder = locate(source)
    return adapter_of(folder).write(folder, weights, out)


def adapter_of(folder: Path) -> Adapter:
    """The adapter that opens a folder; `ModelError` if there is none."""
    return _found(folder)[1]


def adapter_module(folder: Path) -> str:
    """The module of this adapter, which belongs to the key of every step that opens the folder."""
    return _found(folder)[0].module


def _found(folder: Path) -> tuple[registry.Entry, Adapter]:
    """The first adapter that knows the class of the folder; built-in ones come first."""
    stated = read_index(folder).get("_class_name")
    known: list[str] = []
    broken: list[str] = []
    for entry in sorted(registry.entries("model").values(), key=lambda entry: entry.origin != "tverase"):
        try:
            adapter: Adapter = registry.load("model", entry.name)()
        except ConfigError as error:
            broken.append(str(error))
            continue
        if stated in adapter.KINDS:
            return entry, adapter
        known += adapter.KINDS
    index = say(folder / "model_index.json")
    raise ModelError(
        f"{index} says that {say(folder)} holds a {str(stated)[:80]}; tverase edits: {', '.join(known)}. Another family is "
        "a plug-in of kind model (see `tverase list model` and CONTRIBUTING.md)." + "".join(f" {why}" for why in broken)
    )
