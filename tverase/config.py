"""params.yaml as types: unknown keys, wrong types and impossible values stop a run before it starts."""

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from .attacks.run import searching
from .build import BuildVector
from .concepts import Concept, run_name
from .concepts.resolve import Resolved, resolve_all, suggestion
from .errors import ConfigError, unknown
from .evaluation_settings import Evaluate
from .finetune import FineTune
from .hardening.settings import Harden
from .inversion.diverse import Invert
from .monitoring.settings import Monitor
from .policy import Review, require_alias
from .presets import filled
from .registry import built
from .sampling import Sampling
from .selection.choose import Select
from .settings import Settings
from .strength.settings import ChooseStrength
from .yamlfile import parse_value, read_yaml


class Runtime(Settings):
    """The machine; nothing here changes a result, so nothing here is part of a cache key."""

    threads: NonNegativeInt = 0  # 0: as many as there are cores
    device: str = "cpu"  # cpu | cuda | cuda:1 | mps
    keep: NonNegativeInt = 3  # earlier results of each step that come back without computing; 0 keeps none
    step_hours: PositiveFloat = 24  # a step of the Prefect flow that takes longer fails; finished work is kept


class MakeImages(Settings):
    """What the model draws of the concept, and of everything else."""

    images: PositiveInt = 100
    retain_images: PositiveInt = 300
    at_least: float = Field(default=0.3, ge=0, le=1)  # below this rate there is nothing to erase


class Erase(Settings):
    """How the edited pipeline is written."""

    alpha: float | None = Field(default=None, ge=0)  # a number overrules what choose_strength found


class Register(Settings):
    """Where the result is registered."""

    experiment: str = "tverase"
    model: str = ""  # registered model's name; empty: tverase-<name>
    alias: str = "candidate"

    @field_validator("alias")
    @classmethod
    def _is_an_alias(cls, alias: str) -> str:
        return require_alias(alias)

    @field_validator("model")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if re.search(r"[/:.%\"']", name):
            raise ValueError(f"{name!r} is no name of a registered model; leave out / : . % and quotes")
        return name


class Params(Settings):
    """All of params.yaml."""

    seed: int = 0
    concepts: tuple[str, ...] = Field(default=("bomb",), min_length=1)
    recipe: Literal["robust", "paper"] = "robust"  # paper: tau, Diverse Inversion and alpha, without hardening
    effort: Literal["quick", "standard", "thorough"] = "standard"  # images, rounds and steps of all sections together
    model: str = "models/emoji-sd"
    judge: dict[str, Any] | str | None = None  # instead of the one that the concept names (docs/judges.md)
    # Another method than the task vector: a kind of `tverase list erasers` and its settings; `finetune` does nothing then.
    eraser: dict[str, Any] | str | None = None
    sampling: Sampling = Sampling()
    make_images: MakeImages = MakeImages()
    finetune: FineTune = FineTune()
    build_vector: BuildVector = BuildVector()
    invert: Invert = Invert()
    select: Select = Select()
    harden: Harden = Harden()
    choose_strength: ChooseStrength = ChooseStrength()
    erase: Erase = Erase()
    evaluate: Evaluate = Evaluate()
    register_: Register = Field(default=Register(), alias="register")
    review: Review = Review()
    monitor: Monitor = Monitor()
    runtime: Runtime = Runtime()

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        """Fill in what `recipe` and `effort` set."""
        if not isinstance(given, dict):
            return given
        return filled(given)

    @model_validator(mode="before")
    @classmethod
    def _without_a_name(cls, given: Any) -> Any:
        if isinstance(given, dict) and "name" in given:
            raise ValueError("name is not a parameter, because it follows from the concepts; leave it out")
        return given

    @model_validator(mode="after")
    def _concepts_are_there(self) -> Self:
        resolve_all(self.concepts)
        return self

    @model_validator(mode="after")
    def _plug_ins_are_there(self) -> Self:
        searching(self.harden.attacks, "harden")
        searching(self.choose_strength.attacks, "choose_strength")
        if self.eraser is not None:
            built("eraser", self.eraser)
        return self

    @property
    def concept_list(self) -> list[Concept]:
        """The concepts, with their prompts."""
        return list(self.resolved.concepts)

    @cached_property  # concept files are read once
    def resolved(self) -> Resolved:
        """The concepts with the assumptions made for them, for people to read."""
        return resolve_all(self.concepts)

    @property
    def judge_spec(self) -> dict[str, Any] | str:
        """The judge of this run: the parameters', or else the concepts'."""
        named = [concept.judge for concept in self.concept_list if concept.judge is not None]
        if self.judge is not None:
            return self.judge
        if not named:
            listed = ", ".join(f"{concept.name}{suggestion(concept.name)}" for concept in self.concept_list)
            raise ConfigError(f"no judge is named for {listed}; add `judge:` to the concept file or to the parameters.")
        if any(other != named[0] for other in named):
            raise ConfigError("the concepts name different judges; choose one for all with `judge:` in the parameters.")
        return named[0]

    @property
    def name(self) -> str:
        """The folder under outputs/ and the name of the run: the concepts joined by `+`."""
        return run_name(self.concept_list)

    @property
    def out(self) -> Path:
        """Where everything about this run is written."""
        return Path("outputs") / self.name

    def section(self, name: str) -> Any:
        """One section, or one value (`finetune.steps`), by the name that it has in params.yaml."""
        value: Any = self
        name = {"judge": "judge_spec"}.get(name, name)  # the concept's, where the parameters leave it out
        for part in name.split("."):
            value = getattr(value, {"register": "register_"}.get(part, part))
        return value

    @classmethod
    def load(cls, path: Path, overrides: Iterable[str] = ()) -> Self:
        """Read and check `path`, changed by overrides like `finetune.steps=100`."""
        content = read_yaml(path)
        for override in overrides:
            _override(content, override)
        return cls.parse(content, str(path))

    @classmethod
    def parse(cls, content: Mapping[str, Any], where: str = "params") -> Self:
        """Check a mapping as if it had been read from a file."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise ConfigError(f"{where}: " + "; ".join(_say(e) for e in error.errors())) from None
        except ArithmeticError as error:  # of a rule that computes with a value
            raise ConfigError(f"{where}: a value is too large or too small to compute with ({error}).") from None


def _override(content: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ConfigError(f"{override!r} is not an override; write KEY=VALUE, as in finetune.steps=100.")
    value = parse_value(text, override)
    *sections, key = path.split(".")
    place = content
    for section in sections:
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            raise ConfigError(f"{override!r}: {section} is a value and has nothing inside.")
    place[key] = [value] if path == "concepts" and isinstance(value, str) else value


def _say(error: Any) -> str:
    """One problem that pydantic found, as a sentence with the path and the valid choices."""
    path = ".".join(str(step) for step in error["loc"])
    if error["type"] == "extra_forbidden":
        key = str(error["loc"][-1])
        return unknown("parameter", key, _fields(error["loc"][:-1])).replace(repr(key), repr(path), 1)
    message = str(error["msg"]).removeprefix("Value error, ")
    message = {"too_short": "has too few items", "tuple_type": "must be a list"}.get(error["type"], message)
    return f"{path}: {message} (got {error['input']!r})" if path and error["type"] != "value_error" else message


def _fields(path: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Params
    for step in path:
        kind = {(f.alias or n): f.annotation for n, f in model.model_fields.items()}.get(str(step))
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        model = kind
    return [f.alias or n for n, f in model.model_fields.items()]
