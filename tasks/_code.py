"""The source that a result depends on: a module and everything that it imports, read from the syntax tree.

Nothing is imported to find out. Followed are the packages of the modules asked for, `tverase` and `tasks`; what other
packages contain is recorded by version. Left out is what a computation never runs: blocks under `if TYPE_CHECKING` and
`if __name__ == "__main__"`. A module that names `__package__` reads files beside it, so these belong to it.
"""

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

from tverase.errors import DataError

OURS = ("tverase", "tasks")


def closure(modules: Iterable[str]) -> dict[str, Path]:
    """Name to file of the modules and of all that they import; a data file is named by package and file name."""
    starts = list(modules)
    tops = {name.partition(".")[0] for name in (*starts, *OURS)}
    found: dict[str, Path] = {}
    file_of = cache(_file)  # for this call alone: the next one may find other files
    waiting = starts
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        path = file_of(name)
        if path is None:
            raise DataError(f"the module {name} cannot be found; install the package that has it, or correct the name.")
        found[name] = path
        is_package = path.name == "__init__.py"
        imports, reads_data = _reached(path.read_bytes(), name, is_package=is_package)
        for other in _existing(imports, tops, file_of):
            waiting += _with_packages(other)
        if reads_data:
            package = name if is_package else name.rpartition(".")[0]
            beside = (p for p in path.parent.iterdir() if p.is_file() and p.suffix not in (".py", ".pyc"))
            found |= {f"{package}/{file.name}": file for file in beside}
    return dict(sorted(found.items()))


def digests(files: dict[str, Path]) -> dict[str, str]:
    """Name to the sha256 of what each file says; comments, docstrings and layout of Python files do not count."""
    return {name: _digest(path.suffix, path.read_bytes()) for name, path in files.items()}


def _with_packages(name: str) -> list[str]:
    """`a.b.c` with `a` and `a.b`, whose `__init__` runs first."""
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _existing(names: Iterable[str], tops: set[str], file_of: Callable[[str], Path | None]) -> Iterator[str]:
    """Those of the names that are modules of followed packages; of `a.b.thing` that is `a.b` if `thing` is no module."""
    for name in names:
        if name.partition(".")[0] in tops:
            if file_of(name) is not None:
                yield name
            elif (parent := name.rpartition(".")[0]) and file_of(parent) is not None:
                yield parent


def _top(name: str) -> Path | None:
    """Where a top-level package or module lies; finding it runs none of it."""
    return _found(name, tuple(sys.path))


@cache
def _found(name: str, search_path: tuple[str, ...]) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin is not None else None


def _file(name: str) -> Path | None:
    top, *rest = name.split(".")
    origin = _top(top)
    if origin is None or not rest:
        return origin
    stem = origin.parent.joinpath(*rest)
    for path in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _reached(source: bytes, name: str, *, is_package: bool) -> tuple[frozenset[str], bool]:
    """Dotted names that a module imports, and whether it reads data files beside it."""
    tree = ast.parse(source)
    imports = set[str]()
    for node in _run(tree):
        if isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, name, is_package=is_package)
            imports |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return frozenset(imports), any(isinstance(node, ast.Name) and node.id == "__package__" for node in ast.walk(tree))


def _run(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes under `node` that a computation may run."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _never(child.test):
            for other in child.orelse:
                yield other
                yield from _run(other)
            continue
        yield child
        yield from _run(child)


def _never(test: ast.expr) -> bool:
    text = ast.unparse(test)
    return text in ("TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__ == '__main__'")


def _base(node: ast.ImportFrom, name: str, *, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = name.split(".") if is_package else name.split(".")[:-1]
    kept = parts[: len(parts) - node.level + 1]
    return ".".join([*kept, *([node.module] if node.module else [])])


@cache
def _digest(suffix: str, content: bytes) -> str:
    if suffix == ".py":
        tree = ast.parse(content)
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                _without_docstring(node)
        content = ast.unparse(tree).encode()
    return hashlib.sha256(content).hexdigest()


def _without_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    if ast.get_docstring(node, clean=False) is not None:
        node.body = node.body[1:] or [ast.Pass()]
