"""Finished parts of a long step, so that a call that was stopped continues after the last of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from .errors import ModelError
from .files import dropped, read_json, read_tensors, write_json, write_tensors
from .models.base import Meter


def under(kind: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `kind/`, without it."""
    return {name.partition("/")[2]: tensor for name, tensor in tensors.items() if name.startswith(f"{kind}/")}


@dataclass(frozen=True)
class Checkpoint:
    """A folder with one JSON file for each part, and its tensors beside it; without a folder nothing is kept.

    The folder belongs to one step with one set of parameters and inputs. The meter's counts are kept with each part.
    """

    folder: Path | None
    meter: Meter

    def get(self, name: str) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """What `put` kept under this name, if it is there and whole; its cost is added to the meter."""
        if self.folder is None or not (path := self.folder / f"{name}.json").exists():
            return None
        try:
            kept = read_json(path)
            value, tensors = dict(kept["value"]), read_tensors(path.with_suffix(".safetensors"))[0]
            evaluations, images = int(kept["evaluations"]), int(kept["images"])
        except (ModelError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OSError) as error:
            dropped(path, error)
            return None
        self.meter.evaluations += evaluations
        self.meter.images += images
        return value, tensors

    def begin(self) -> Meter:
        """The meter's counts at the beginning of a part."""
        return replace(self.meter)

    def put(
        self, name: str, value: Mapping[str, Any], begun: Meter, tensors: Mapping[str, Tensor] | None = None
    ) -> None:
        """Keep a part that began at `begun`. Its JSON file comes last: it says that the part is whole."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path, meter = self.folder / f"{name}.json", self.meter
        write_tensors(tensors or {}, path.with_suffix(".safetensors"))
        spent = {"evaluations": meter.evaluations - begun.evaluations, "images": meter.images - begun.images}
        write_json(path, {"value": dict(value), **spent})
