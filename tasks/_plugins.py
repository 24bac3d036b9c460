"""The plug-ins that a run's parameters choose, as modules whose source belongs to the steps' keys."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tverase.errors import ModelError
from tverase.models.adapters import adapter_module
from tverase.registry import built, entries

from ._common import model_path

if TYPE_CHECKING:
    from tverase.config import Params


def model_plugins(params: "Params") -> tuple[str, ...]:
    """The adapter of the base model's family, and what produces the concepts."""
    return tuple(dict.fromkeys([*_adapters(model_path(params)), *_producers(params)]))


def run_plugins(params: "Params") -> tuple[str, ...]:
    """The same and the judge's plug-ins."""
    return tuple(dict.fromkeys([*model_plugins(params), *spec_modules("judge", params.judge_spec)]))


def spec_modules(kind: str, spec: Mapping[str, Any] | str) -> Iterator[str]:
    """The modules of a plug-in with these settings, of what it calls, and of its members if it is made of others."""
    name = spec.partition(":")[0] if isinstance(spec, str) else str(spec["kind"])
    plugin = built(kind, spec)
    yield entries(kind)[name].module
    yield from getattr(plugin, "modules", tuple)()  # what it calls beside its own module
    members = getattr(plugin, "judges", ())
    for member in members.values() if isinstance(members, Mapping) else members:
        yield from spec_modules(kind, member)


def _adapters(folder: Path) -> Iterator[str]:
    """The adapter that opens a model folder; broken plug-ins of other packages do not matter."""
    try:
        yield adapter_module(folder)
    except ModelError:
        return  # the step that opens it says what is wrong


def _producers(params: "Params") -> Iterator[str]:
    known = entries("concept")
    for concept in params.concept_list:
        if concept.source in known:
            yield known[concept.source].module
