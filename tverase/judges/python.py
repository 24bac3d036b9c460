"""A Python function of your own: images in, scores out."""

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from importlib import util
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import field_validator
from torch import Tensor

from ..errors import ConfigError
from .base import Judge
from .folder import first_line, version_of
from .scored import Labels, Scored, ScoredSettings, axes_of

NAME = "python"


class PythonJudge(ScoredSettings):
    """A function of images (B, 3, H, W) in [-1, 1] that returns scores (B, labels), or one (B,) for each label."""

    SHORT: ClassVar[str] = "function"

    function: str  # module:function; the current folder is searched too
    labels: Labels = ()  # otherwise the function's attribute `labels`, or the keys that it returns
    rest: str | None = None  # the label of images on which no other label reaches the threshold

    @field_validator("function")
    @classmethod
    def _names_both(cls, function: str) -> str:
        module, colon, name = function.partition(":")
        if not (colon and module and name):
            raise ValueError("expected module:function, as in mypackage.judges:score")
        return function

    def files(self) -> dict[str, Path]:
        """The module's source; files that it reads are not known here."""
        path = self._source()
        return {"python": path} if path else {}

    def modules(self) -> tuple[str, ...]:
        """The function's module, so that what it imports of its own package belongs to a step's key."""
        return (self.function.partition(":")[0],) if self._source() else ()

    def open(self, device: str = "cpu") -> Judge:
        """Import the function; it decides itself where it computes."""
        function = self._imported()
        labels = self.labels or getattr(function, "labels", None) or _keys(self.function, function)
        axes = axes_of({k: tuple(v) for k, v in labels.items()} if isinstance(labels, Mapping) else tuple(labels))
        if self.rest is not None:
            axes = {axis: (*members, self.rest) for axis, members in axes.items()}
        asked = [label for members in axes.values() for label in members if label != self.rest]
        source = self._source()
        name = f"{self.function}/{version_of(source)}" if source else self.function
        score = lambda images: _scores(self.function, _called(self.function, function, images), asked)
        return Scored(name, axes, score, self.accuracy, self.threshold, self.batch, self.rest)

    def _source(self) -> Path | None:
        _search_here()
        try:
            spec = util.find_spec(self.function.partition(":")[0])
        except (ImportError, ValueError):
            return None
        return Path(spec.origin) if spec and spec.origin and Path(spec.origin).is_file() else None

    def _imported(self) -> Callable[[Tensor], Any]:
        module, _, name = self.function.partition(":")
        _search_here()
        try:
            found = getattr(importlib.import_module(module), name)
        except Exception as error:
            raise ConfigError(
                f"judge python: {self.function} cannot be imported ({type(error).__name__}: {first_line(error)}); "
                "expected module:function of an installed package or of a file in the current folder."
            ) from error
        if not callable(found):
            raise ConfigError(f"judge python: {self.function} is a {type(found).__name__}; expected a function.")
        return found  # type: ignore[no-any-return]


PLUGIN = PythonJudge


def _search_here() -> None:
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def _keys(name: str, function: Callable[[Tensor], Any]) -> tuple[str, ...]:
    """The labels of a function that returns a mapping: what it says of one grey image."""
    found = _called(name, function, torch.zeros(1, 3, 64, 64))
    if not isinstance(found, Mapping):
        raise ConfigError(
            f"judge python: the labels of {name} are not known; give `labels`, or let it return a mapping, label -> scores."
        )
    return tuple(found)


def _called(name: str, function: Callable[[Tensor], Any], images: Tensor) -> Any:
    try:
        return function(images)
    except Exception as error:
        raise ConfigError(
            f"judge python: {name} failed on {tuple(images.shape)} ({type(error).__name__}: {first_line(error)})."
        ) from error


def _scores(name: str, found: Any, labels: list[str]) -> Tensor:
    """What a function returned, as (B, labels)."""
    if not isinstance(found, Mapping):
        return torch.as_tensor(found)
    if lost := [label for label in labels if label not in found]:
        raise ConfigError(f"judge python: {name} returned no scores of {lost[0]!r}; it returned: {', '.join(found)}.")
    return torch.stack([torch.as_tensor(found[label]) for label in labels], 1)
