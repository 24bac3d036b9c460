"""Promises about the code itself that no linter keeps: sizes, what an import costs, what is never called."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(p for part in ("tverase", "tasks", "flows", "benchmarks") for p in (ROOT / part).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LIBRARY = [p for p in SOURCES if p.is_relative_to(ROOT / "tverase")]
PATHS = re.compile(r"(?<![\w.~$}{/<-])/(?:work|home|root)/[\w.]")  # from the root, not inside another path


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        lines -= (function.body[0].end_lineno or 0) - function.body[0].lineno + 1
    return lines


def test_the_code_is_found() -> None:
    """Otherwise everything below would be true of nothing."""
    assert {"tverase/vector.py", "tasks/erase.py", "flows/cli.py", "benchmarks/method.py"} <= set(map(name_of, SOURCES))
    assert name_of(Path(__file__)) in map(name_of, TESTS)


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name_of)
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_functions_are_short(path: Path) -> None:
    assert {f.name: length(f) for f in functions(path) if length(f) >= 40} == {}


def public(node: ast.AST, where: str) -> Iterator[tuple[str, ast.Module | ast.ClassDef | ast.FunctionDef]]:
    """A module or class and all that is public in it, by dotted name; what is inside functions is nobody's business."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
        yield where, node
    if isinstance(node, ast.Module | ast.ClassDef):
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef) and not child.name.startswith("_"):
                yield from public(child, f"{where}.{child.name}")


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_everything_public_says_what_it_is(path: Path) -> None:
    silent = [where for where, node in public(tree(path), path.stem) if not ast.get_docstring(node)]
    assert silent == []


def unsafe(path: Path) -> Iterator[str]:
    """Where a file could run code that came with weights."""
    for node in ast.walk(tree(path)):
        modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if {m.partition(".")[0] for m in modules} & {"pickle", "cloudpickle", "dill", "joblib", "shelve"}:
            yield f"line {node.lineno}: imports {modules}"  # type: ignore[attr-defined]
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load":
            yield f"line {node.lineno}: torch.load"
        if isinstance(node, ast.ImportFrom) and node.module == "torch" and "load" in {a.name for a in node.names}:
            yield f"line {node.lineno}: torch.load"
        risky = isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "allow_pickle")
        if risky and ast.unparse(node.value) != "False":
            yield f"line {node.lineno}: {node.arg}"


BACKBONE = "tverase/judges/backbone.py"  # its weights come from a package as a .pth and nothing else


@pytest.mark.parametrize("path", [p for p in SOURCES if name_of(p) != BACKBONE], ids=name_of)
def test_no_weights_can_run_code(path: Path) -> None:
    assert list(unsafe(path)) == []


@pytest.mark.skipif(not (ROOT / BACKBONE).exists(), reason="there is no such judge")
def test_the_one_exception_opens_tensors_only() -> None:
    calls = [node for node in ast.walk(tree(ROOT / BACKBONE)) if isinstance(node, ast.Call)]
    loads = [node for node in calls if ast.unparse(node.func) == "torch.load"]
    assert [{k.arg: ast.unparse(k.value) for k in node.keywords} for node in loads] == [{"weights_only": "True"}]
    assert len(list(unsafe(ROOT / BACKBONE))) == len(loads)


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import load",
        "import torch\ntorch.load(x)",
        "from torch import load",
        "f(x, trust_remote_code=True)",
        "numpy.load(x, allow_pickle=yes)",
    ],
)
def test_unsafe_lines_are_recognised(line: str, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(line)
    assert len(list(unsafe(tmp_path / "bad.py"))) == 1


HEAVY = {"torch", "diffusers", "transformers", "mlflow", "prefect", "numpy", "matplotlib", "scipy", "fastapi"}


def loaded(code: str) -> set[str]:
    """The heavy packages that a fresh interpreter has in memory after `code`."""
    after = f"import sys\n{code}\nprint('loaded:', *{{m.partition('.')[0] for m in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", after], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(run.stdout.rpartition("loaded:")[2].split()) & HEAVY


@pytest.mark.parametrize("module", ["tverase", "tverase.errors", "flows.cli"])
def test_imports_are_light(module: str) -> None:
    assert loaded(f"import {module}") == set()


@pytest.mark.parametrize("command", [[], ["run"]], ids=["tverase", "tverase run"])
def test_help_is_light(command: list[str]) -> None:
    code = f"from flows.cli import main\nsys.argv = {['tverase', *command, '--help']}\ntry: main()\nexcept SystemExit: pass"
    assert loaded(code) == set()


def test_loading_is_noticed() -> None:
    assert "numpy" in loaded("import numpy")


# Settings stand beside the methods that they are for, so params.yaml as types needs torch and scipy; the rest can wait.
ALLOWED = {"torch", "numpy", "scipy"}
EVERYTHING = "import importlib\nfor name in {names}: importlib.import_module(name)"
WATCH = """
import sys
def watch(event, args):
    path = str(args[0]) if args else ""
    ours = path.startswith({root!r}) and not path.endswith((".py", ".pyc")) and ".venv" not in path
    if event in ("socket.connect", "subprocess.Popen") or (event == "open" and ours):
        print("did:", event, path)
sys.addaudithook(watch)
"""


def done(code: str) -> list[str]:
    """What a fresh interpreter fetches, starts or opens of the project's files, other than source, in `code`."""
    run = [sys.executable, "-c", WATCH.format(root=f"{ROOT}/") + code]
    said = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in said if line.startswith("did:")]


def test_importing_the_library_is_all_that_it_does() -> None:
    """Models, pictures and networks are for functions; a module that needs more says so inside of one."""
    names = [".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for p in LIBRARY]
    code = EVERYTHING.format(names=names)
    assert loaded(code) <= ALLOWED
    assert done(code) == []


def test_work_is_noticed() -> None:
    assert done("import tverase.config") == []
    found = done("from tverase.world.vocabulary import vocabulary\nvocabulary()")
    assert [line.rpartition("/")[2] for line in found] == ["vocabulary.yaml"]


def tracked() -> list[Path]:
    """The files that git has or would take."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no git checkout: which files belong to the project is not known")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_knows_a_machine() -> None:
    found = []
    for path in tracked():
        raw = path.read_bytes()
        if b"\0" not in raw and path != Path(__file__):
            lines = raw.decode("utf-8", "replace").splitlines()
            found += [
                f"{name_of(path)}:{i}: {line.strip()[:80]}" for i, line in enumerate(lines, 1) if PATHS.search(line)
            ]
    assert found == []


@pytest.mark.parametrize("path", ["/work/main", "'/home/me/x'", "open(/root/.cache)", "=/home/x"])
def test_paths_of_machines_are_recognised(path: str) -> None:
    assert PATHS.search(path)


@pytest.mark.parametrize("path", ["./work/x", "outputs/work/x", "/work/", "~/work/x", "https://a.org/home/x"])
def test_other_paths_are_left_alone(path: str) -> None:
    assert not PATHS.search(path)
