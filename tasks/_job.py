"""What a step's function is given: its own parameters and no others, where to read, where to write."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tverase.models.base import Meter
from tverase.progress import Tell

Paths = Mapping[str, Path]
# Known to every step without being part of its key: the machine, and paths whose contents are inputs.
ALWAYS = ("runtime", "name", "out", "model")


class Sections:
    """The parameters that a step declares. Any other is an error: the step's key would not know of it."""

    def __init__(self, params: Any, names: Iterable[str]) -> None:
        for name in (*ALWAYS, *names):
            *path, last = name.split(".")
            place: Any = self
            for part in path:
                if not isinstance(place.__dict__.get(part), Sections):
                    place.__dict__[part] = Sections.__new__(Sections)
                place = place.__dict__[part]
            place.__dict__[last] = params.section(name)
        if "concepts" in names:
            self.__dict__["concept_list"] = params.concept_list

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the step does not declare the parameter {name!r}; add it to the step's sections.")


@dataclass(frozen=True)
class Job:
    """One execution of a step."""

    params: Any  # `Sections`: `job.params.finetune.steps`
    inputs: Paths
    outputs: Paths  # unfinished names; they get their own when the function returns
    scratch: Path  # survives a crash, is deleted after success
    tell: Tell
    meter: Meter = field(default_factory=Meter)
