"""A step's key has the source of everything that its result depends on: no more, no less, and DVC knows the same."""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks import _stages
from tasks._all import STEPS, chosen
from tasks._code import closure, digests
from tasks._dvc import PIPELINES
from tasks._step import Step
from tverase.config import Params

ROOT = Path(__file__).parents[1]
RUNS = {dvc: Params.load(ROOT / path) for path, dvc in PIPELINES.items()}
MADE = {
    f"{dvc}:{step.name}": (step, params) for dvc, params in RUNS.items() for step in chosen(params) if not step.shipped
}
PARAMS = RUNS[Path("dvc.yaml")]

# Run in a copy of the sources: change the meaning of one file after the other, and say whose key changes.
EDITED = """
import json
from pathlib import Path
from tasks._all import chosen
from tasks._code import digests
from tasks._dvc import PIPELINES
from tasks._step import Step
from tverase.config import Params
from tverase.files import digest_of

sources, before = {}, {}
for path, dvc in PIPELINES.items():
    params = Params.load(path)
    for step in chosen(params):
        if step.shipped is None:
            name = f"{dvc}:{step.name}"
            sources[name] = step.code_files(params)
            before[name] = digests(sources[name])
            assert step.code_key(params) == digest_of(before[name])
changed = {}
for path in sorted({path for files in sources.values() for path in files.values()}):
    whole = path.read_bytes()
    path.write_bytes(whole + (b"\\nCHANGED = 1\\n" if path.suffix == ".py" else b"\\n "))
    names = [name for name, files in sources.items() if digests(files) != before[name]]
    path.write_bytes(whole + (b"\\n# a comment\\n" if path.suffix == ".py" else b""))
    assert all(digests(files) == before[name] for name, files in sources.items()), f"a comment in {path}"
    path.write_bytes(whole)
    changed[path.relative_to(Path.cwd()).as_posix()] = names
print(json.dumps(changed))
"""
# Each module is imported as if none of ours had been; other packages stay.
IMPORTED = """
import importlib, json, sys
found = {}
for module in sys.argv[1:]:
    importlib.import_module(module)
    found[module] = [name for name in sys.modules if name.partition(".")[0] in ("tverase", "tasks")]
    for name in found[module]:
        del sys.modules[name]
print(json.dumps(found))
"""


def stages() -> dict[str, Any]:
    """The stages of all DVC files, by file and name."""
    files = {dvc: yaml.safe_load((ROOT / dvc).read_text()) for dvc in RUNS}
    return {f"{dvc}:{name}": stage for dvc, file in files.items() for name, stage in file["stages"].items()}


@cache
def edited() -> dict[str, list[str]]:
    """File to the steps whose key changes with it."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        for part in ("tasks", "tverase"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        for path in PIPELINES:
            (folder / path).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / path, folder / path)
        for shipped in ("models", "data"):
            (folder / shipped).symlink_to(ROOT / shipped)
        environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-c", EDITED]
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        found: dict[str, list[str]] = json.loads(run.stdout)
        return found


def test_the_stages_are_those_that_the_steps_say() -> None:
    for path, text in _stages.pipelines().items():
        assert (ROOT / path).read_text() == text, f"{path} is old: `python -m tasks._stages`"


def test_every_file_changes_the_keys_of_just_the_stages_that_name_it() -> None:
    """The flow goes by keys, DVC by the files of a stage: after a change of any file both run the same steps again."""
    depends = {name: set(stage.get("deps", ())) for name, stage in stages().items()}
    assert len(edited()) > 80
    for path, names in edited().items():
        assert set(names) == {name for name in MADE if path in depends[name]}, path


@pytest.mark.parametrize(
    ("path", "some", "others"),
    [
        ("tverase/judges/cnn.py", {"make_images", "invert", "evaluate"}, {"finetune", "build_vector", "erase"}),
        ("tverase/rng.py", {"make_images", "finetune", "invert"}, {"erase"}),
        ("tverase/world/vocabulary.yaml", {"make_images", "evaluate"}, {"report"}),
        ("tverase/report/report.html.j2", {"report"}, {"evaluate", "make_images"}),
        ("tverase/bounds.py", {"choose_strength", "evaluate"}, {"finetune"}),
        ("tverase/models/text2image.py", {"make_images", "finetune", "erase"}, {"report"}),
        ("tverase/attacks/worst_input.py", set(), {"evaluate", "harden"}),
        ("tverase/hardening/distil.py", {"harden"}, {"choose_strength", "erase"}),
        ("tverase/strength/choose.py", {"choose_strength"}, {"harden", "evaluate"}),
    ],
)
def test_who_depends_on_what(path: str, some: set[str], others: set[str]) -> None:
    changed = {name.partition(":")[2] for name in edited()[path] if name.startswith("dvc.yaml:")}
    assert some <= changed
    assert not others & changed


@pytest.mark.parametrize(
    ("path", "some", "others"),
    [
        ("tverase/attacks/worst_input.py", {"evaluate"}, {"make_images", "harden", "choose_strength"}),
        ("tverase/models/digits_folder.py", {"make_images", "finetune", "erase", "evaluate"}, {"report"}),
        ("tverase/models/stable_diffusion_3.py", set(), {"make_images", "erase", "evaluate"}),
    ],
)
def test_who_depends_on_what_among_the_digits(path: str, some: set[str], others: set[str]) -> None:
    changed = {name.partition(":")[2] for name in edited().get(path, ()) if name.startswith("digits/dvc.yaml:")}
    assert some <= changed
    assert not others & changed


@cache
def imported() -> dict[str, list[str]]:
    """Module of a step to the modules of ours that an interpreter really loads."""
    modules = [step.module for name, (step, _) in MADE.items() if name.startswith("dvc.yaml:")]
    command = [sys.executable, "-c", IMPORTED, *modules]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize("name", [name for name in MADE if name.startswith("dvc.yaml:")])
def test_what_python_imports_is_in_the_key(name: str) -> None:
    """The syntax tree is held against what an interpreter really loads."""
    step, params = MADE[name]
    assert len(imported()[step.module]) > 20
    assert set(imported()[step.module]) <= set(step.code_files(params))


@pytest.mark.parametrize("step", [step for step in STEPS if step.shipped is not None], ids=lambda step: step.name)
def test_what_is_shipped_is_what_its_record_says(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert step.current(PARAMS)


def test_the_defaults_are_at_home_in_the_types() -> None:
    assert Params.parse({}) == PARAMS


MODULES = {
    "package/__init__.py": "",
    "package/start.py": """
from typing import TYPE_CHECKING
from . import used
from .deep.inner import thing
if TYPE_CHECKING:
    from . import only_types
def lazily():
    import package.late
if __name__ == "__main__":
    from . import main
else:
    from . import otherwise
""",
    **{f"package/{name}.py": "" for name in ("used", "only_types", "late", "main", "otherwise", "stranger")},
    "package/deep/__init__.py": "from ..data import text",
    "package/deep/inner.py": "thing = 1",
    "package/data.py": "from importlib.resources import files\ntext = files(__package__)",
    "package/words.txt": "words",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in MODULES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "package"


def test_the_closure_of_a_module(package: Path) -> None:
    names = {"", ".start", ".used", ".late", ".otherwise", ".deep", ".deep.inner", ".data", "/words.txt"}
    assert set(closure(["package.start"])) == {f"package{name}" for name in names}


def test_docstrings_and_comments_do_not_count_and_everything_else_does(package: Path) -> None:
    path = package / "used.py"
    texts = [
        'def f():\n    """Says it."""\n    return 1\n',
        "def f():\n    return 1  # one\n",
        "def f():\n    return 2\n",
    ]
    found = []
    for text in texts:
        path.write_text(text)
        found.append(digests({"used": path})["used"])
    assert found[0] == found[1] != found[2]


def test_a_change_of_the_same_size_at_the_same_time_is_seen(package: Path) -> None:
    path, found = package / "used.py", list[str]()
    for text in ("x = 1\n", "x = 2\n"):
        path.write_text(text)
        os.utime(path, ns=(10**18, 10**18))
        found.append(digests({"used": path})["used"])
    assert found[0] != found[1]
