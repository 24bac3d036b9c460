"""One strict YAML reader for parameters, concept files and overrides: every problem is one sentence with its line."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .errors import ConfigError

LARGEST = 1_000_000  # bytes of a file
MOST = 100_000  # values, each alias counted with all that it stands for
DEEPEST = 60  # levels
LONGEST = 300  # characters of a message, its place included
Where = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """What a file says, and the line of every key and item by its path: `("retain", 2)` -> 14."""

    content: dict[str, Any]
    lines: Mapping[Where, int]
    name: str

    def place(self, path: Where) -> str:
        """`concepts/x.yaml, line 7` for the longest part of `path` that has a line."""
        for size in range(len(path), 0, -1):
            if line := self.lines.get(path[:size]):
                return f"{self.name}, line {line}"
        return self.name


class _Strict(yaml.SafeLoader):
    """Plain values only: a date is text, `yes` is text, a tag is refused."""


_Strict.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if not tag.endswith((":timestamp", ":bool", ":merge", ":value"))]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _letters, _word in (("tT", "true"), ("fF", "false")):
    _pattern = re.compile(rf"^(?:{_word}|{_word.title()}|{_word.upper()})$")
    _Strict.add_implicit_resolver("tag:yaml.org,2002:bool", _pattern, list(_letters))


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a file; an empty file is an empty mapping. Everything else is a `ConfigError`."""
    return read_document(path).content


def read_document(path: Path) -> Document:
    """The same with the lines of its keys."""
    try:
        if path.stat().st_size > LARGEST:
            raise ConfigError(f"{path} is larger than {LARGEST:,} bytes, which no parameter or concept file needs.")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            f"{path} does not exist; check the name and the folder that the command runs in. `tverase init` begins a project."
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from None
    except (OSError, ValueError) as error:
        raise ConfigError(_short(str(path), f"cannot be read: {error}")) from None
    return parse_document(text, str(path))


def parse_document(text: str, name: str) -> Document:
    """The same for a text; messages have `name`."""
    node = _node(text, name)
    if node is None:
        return Document({}, {}, name)
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{name}: expected a mapping of keys to values, as in `name: bomb`, got {_called(node)}.")
    lines: dict[Where, int] = {}
    content: dict[str, Any] = _value(node, (), lines, name)
    return Document(content, lines, name)


def parse_value(text: str, name: str) -> Any:
    """The value that a text such as `[1, 2]` stands for, as in `--set KEY=VALUE`."""
    node = _node(text, name)
    return None if node is None else _value(node, (), {}, name)


def _node(text: str, name: str) -> yaml.Node | None:
    try:
        loader = _Strict(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
        if node is not None:
            _count(node, name)
    except ConfigError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = f"{error.problem or error.context or 'not YAML'}"
        raise ConfigError(_short(_marked(name, mark), problem)) from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(_short(name, f"not YAML: {' '.join(str(error).split())}")) from None
    except RecursionError:
        raise ConfigError(f"{name} is nested too deeply; {DEEPEST} levels are allowed.") from None
    return node


def _count(node: yaml.Node, name: str) -> None:
    """Refuse a document that is too deep, refers to itself, or grows through aliases into more than `MOST` values."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, above: tuple[int, ...]) -> int:
        if id(node) in above:
            raise ConfigError(f"{_marked(name, node.start_mark)}: an alias refers to what it is part of.")
        if len(above) > DEEPEST:
            raise ConfigError(f"{_marked(name, node.start_mark)}: nested too deeply; {DEEPEST} levels are allowed.")
        if id(node) not in sizes:
            inner = (*above, id(node))
            parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
            nested = parts if isinstance(node, yaml.CollectionNode) else ()
            sizes[id(node)] = 1 + sum(size(part, inner) for part in nested)
        if sizes[id(node)] > MOST:
            raise ConfigError(f"{_marked(name, node.start_mark)}: more than {MOST:,} values; write fewer aliases.")
        return sizes[id(node)]

    size(node, ())


def _value(node: yaml.Node, path: Where, lines: dict[Where, int], name: str) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, lines, name)
    if isinstance(node, yaml.SequenceNode):
        if node.tag != "tag:yaml.org,2002:seq":
            raise ConfigError(_tagged(node, name))
        return [_value(item, (*path, i), lines, name) for i, item in enumerate(node.value)]
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    quoted = isinstance(node, yaml.ScalarNode) and node.style is not None
    if kind not in ("str", "int", "float", "bool", "null") or (quoted and kind != "str"):
        raise ConfigError(_tagged(node, name))
    try:
        return getattr(_Strict(""), f"construct_yaml_{kind}")(node)
    except (ValueError, KeyError, IndexError, OverflowError, yaml.YAMLError):
        shown = node.value if len(node.value) <= 40 else f"{node.value[:40]}..."
        problem = f"{shown!r} is not of the type {kind}; write the value without a tag."
        raise ConfigError(_short(_marked(name, node.start_mark), problem)) from None


def _mapping(node: yaml.MappingNode, path: Where, lines: dict[Where, int], name: str) -> dict[str, Any]:
    if node.tag != "tag:yaml.org,2002:map":
        raise ConfigError(_tagged(node, name))
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = _value(key_node, (*path, ""), {}, name)
        place = _marked(name, key_node.start_mark)
        if not isinstance(key, str):
            raise ConfigError(_short(place, f"the key {key!r} is not text; put it in quotes."))
        if key in found:
            first = lines[*path, key]
            raise ConfigError(_short(place, f"the key {key!r} is there twice (first in line {first}); delete one."))
        lines[*path, key] = key_node.start_mark.line + 1
        found[key] = _value(value_node, (*path, key), lines, name)
    return found


def _tagged(node: yaml.Node, name: str) -> str:
    return _short(_marked(name, node.start_mark), f"the tag {node.tag} is not allowed; write plain values.")


def _called(node: yaml.Node) -> str:
    return "a list" if isinstance(node, yaml.SequenceNode) else "one value"


def _marked(name: str, mark: Any) -> str:
    return name if mark is None else f"{name}, line {mark.line + 1}, column {mark.column + 1}"


def _short(place: str, problem: str) -> str:
    text = f"{place}: {problem}"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
