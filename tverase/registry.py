"""The registry: attacks, erasers, judges, models and concept producers by name.

A built-in plug-in is a module of one of the packages in `PACKAGES` with a top-level `PLUGIN = ClassName`. Its name is
`NAME`, or the name of its file with `-` for `_`. Its description is the first line of the module's docstring; `PAPER`
is optional. A plug-in of another distribution is an entry point of the group `tverase.attacks`, `tverase.erasers`,
`tverase.judges`, `tverase.models` or `tverase.concepts`:

    [project.entry-points."tverase.judges"]
    blue = "mypackage.blue:BlueJudge"

A plug-in is a `Settings` class: its fields are what a YAML may set, its methods do the work. A string is enough for a
plug-in with one important field, which it names in `SHORT`: `python:mypackage.blue:score`.
"""

import ast
import importlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata, util
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from .errors import ConfigError, TveraseError, unknown

ROOT = Path(__file__).parent
PACKAGES = {
    "attack": ("attacks",),
    "eraser": ("erasers",),
    "judge": ("judges",),
    "model": ("models",),
    "concept": ("concepts", "world", "worlds"),
}
KINDS = tuple(PACKAGES)


@dataclass(frozen=True)
class Entry:
    """One plug-in, found but not imported."""

    kind: str
    name: str
    module: str
    attribute: str
    about: str  # one line
    paper: str
    origin: str  # "tverase", or the distribution and its version


def entries(kind: str) -> dict[str, Entry]:
    """The plug-ins of a kind by name, in alphabetical order. Nothing is imported."""
    return {entry.name: entry for entry in sorted(_found(kind), key=lambda entry: entry.name)}


def load(kind: str, name: str) -> Any:
    """The plug-in's class; a `ConfigError` if there is none of this name, if two have it, or if it fails to import."""
    found = [entry for entry in _found(kind) if entry.name == name]
    if not found:
        raise ConfigError(f"{unknown(kind, name, entries(kind))}.")
    if len(found) > 1:
        origins = " and ".join(f"{e.origin} ({e.module})" for e in found)
        raise ConfigError(f"two {kind}s are called {name!r}, of {origins}; rename one or uninstall its package.")
    entry = found[0]
    try:
        return getattr(importlib.import_module(entry.module), entry.attribute)
    except TveraseError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{kind} {name!r} of {entry.origin} cannot be loaded from {entry.module}:{entry.attribute} "
            f"({type(error).__name__}: {error}); repair or uninstall that package."
        ) from error


def built(kind: str, spec: Mapping[str, Any] | str) -> Any:
    """A plug-in with its settings, from `{"kind": "clip", "labels": [...]}` or from a string such as `python:a.b:c`."""
    name, settings = _read(kind, spec)
    plugin = load(kind, name)
    if not (isinstance(plugin, type) and issubclass(plugin, BaseModel)):
        raise ConfigError(f"{kind} {name!r} is a {type(plugin).__name__}; expected a subclass of tverase.Settings.")
    if isinstance(settings, str):
        short = getattr(plugin, "SHORT", None)
        if short is None:
            fields = ", ".join(plugin.model_fields) or "none"
            raise ConfigError(
                f"{kind} {name!r} takes no short form; write a mapping with kind: {name} (fields: {fields})."
            )
        settings = {short: settings}
    try:
        return plugin.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(f"{kind} {name}: {complaint(error, plugin)}") from None


def complaint(error: ValidationError, of: type[BaseModel]) -> str:
    """What pydantic found, as one sentence with the valid fields."""
    found = []
    for one in error.errors():
        path = ".".join(str(step) for step in one["loc"])
        match one["type"]:
            case "extra_forbidden":
                found.append(unknown("field", path, of.model_fields))
            case "missing":
                found.append(f"{path} is missing; the fields are {', '.join(of.model_fields)}")
            case _:
                message = one["msg"].removeprefix("Value error, ").rstrip(".")
                got = "" if not path or isinstance(one["input"], Mapping) else f"{path} = {one['input']!r}: "
                found.append(f"{got}{message}")
    return "; ".join(found) + "."


def _read(kind: str, spec: Mapping[str, Any] | str) -> tuple[str, dict[str, Any] | str]:
    if isinstance(spec, str):
        name, colon, rest = spec.partition(":")
        return name, rest if colon else {}
    if not isinstance(spec, Mapping) or not isinstance(spec.get("kind"), str):
        choices = ", ".join(entries(kind))
        raise ConfigError(f"expected a mapping with 'kind' or a string for the {kind}, got {spec!r}; kinds: {choices}.")
    return spec["kind"], {key: value for key, value in spec.items() if key != "kind"}


def _found(kind: str) -> list[Entry]:
    if kind not in PACKAGES:
        raise ConfigError(f"{unknown('kind of plug-in', kind, KINDS)}.")
    return [*_built_in(kind), *_installed(kind)]


def _built_in(kind: str) -> Iterator[Entry]:
    for package in PACKAGES[kind]:
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = _tree(path)
            marks = _assignments(tree)
            if "PLUGIN" in marks:
                module = ".".join((ROOT.name, *path.relative_to(ROOT).with_suffix("").parts))
                name = _text(marks, "NAME") or path.stem.replace("_", "-")
                yield Entry(kind, name, module, "PLUGIN", _first_line(tree), _text(marks, "PAPER"), "tverase")


def _installed(kind: str) -> Iterator[Entry]:
    seen = set()
    for point in _points(f"tverase.{kind}s", tuple(sys.path)):
        if (point.name, point.value) in seen:  # one distribution that is found in two folders
            continue
        seen.add((point.name, point.value))
        path = _source(point.module)
        tree = _tree(path) if path else ast.Module([], [])
        mine = (n for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name == point.attr)
        about = next((_first_line(node) for node in mine), "") or _first_line(tree)
        origin = f"{point.dist.name} {point.dist.version}" if point.dist else "another package"
        yield Entry(kind, point.name, point.module, point.attr, about, _text(_assignments(tree), "PAPER"), origin)


@cache
def _points(group: str, search_path: tuple[str, ...]) -> tuple[metadata.EntryPoint, ...]:
    """The entry points of all distributions on the path; looking through them takes a while."""
    return tuple(metadata.entry_points(group=group))


def _source(module: str) -> Path | None:
    """The file of a module that is not imported, nor any package above it."""
    top, *below = module.split(".")
    spec = util.find_spec(top)
    if spec is None:
        return None
    if not below and spec.origin:
        return Path(spec.origin)
    for folder in spec.submodule_search_locations or ():
        for path in (Path(folder, *below).with_suffix(".py"), Path(folder, *below, "__init__.py")):
            if path.is_file():
                return path
    return None


def _tree(path: Path) -> ast.Module:
    """The syntax of a file, or nothing if it cannot be read; then `load` raises the error."""
    try:
        return _parsed(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])


@cache
def _parsed(source: bytes) -> ast.Module:
    return ast.parse(source)


def _assignments(tree: ast.Module) -> dict[str, ast.expr]:
    found: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            found[node.target.id] = node.value
        elif isinstance(node, ast.Assign):
            found |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}
    return found


def _text(marks: Mapping[str, ast.expr], name: str) -> str:
    value = marks.get(name)
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def _first_line(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]
