"""dvc.yaml, params.yaml and the lock file against the code that they speak of."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from tasks._all import STEPS, chosen
from tasks._dvc import MAIN, PIPELINES, STAGES, _that_says
from tverase.config import Params

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture(params=PIPELINES, ids=str)
def path(request: pytest.FixtureRequest) -> Path:
    """A file of parameters in git."""
    found: Path = request.param
    return found


@pytest.fixture
def params(path: Path) -> Params:
    return Params.load(path)


@pytest.fixture
def stages(path: Path, params: Params) -> dict[str, Any]:
    """The stages that read it, with their names filled in."""
    text = PIPELINES[path].read_text()
    text = text.replace("${concepts[0]}", params.concepts[0]).replace("${model}", params.model)
    content: dict[str, Any] = yaml.safe_load(text)["stages"]
    return content


def paths(items: list[Any]) -> set[str]:
    """The paths of DVC's lists, whose items may carry options."""
    return {next(iter(item)) if isinstance(item, dict) else item for item in items}


def watched(stage: dict[str, Any], path: Path) -> set[str]:
    """The parameters of a stage."""
    named = stage.get("params", [])
    return set(named) if path == MAIN else {name for files in named for name in files[str(path)]}


def test_every_step_of_a_run_is_a_stage_and_every_stage_a_step(stages: dict[str, Any], params: Params) -> None:
    assert list(stages) == [step.name for step in chosen(params)]
    assert set(STAGES) >= {step.name for step in chosen(params) if step.shipped is None}


def test_every_step_is_a_stage_somewhere() -> None:
    assert {step.name for path in PIPELINES for step in chosen(Params.load(path))} == {step.name for step in STEPS}


def test_a_stage_says_what_its_step_does(stages: dict[str, Any], params: Params, path: Path) -> None:
    written = yaml.safe_load(path.read_text())
    for step in chosen(params):
        stage = stages[step.name]
        named = "" if path == MAIN else f" --params {path}"
        place = "" if step.shipped else f" --out '{params.out}'"
        assert stage["cmd"] == f"python -m tasks {step.name}{named}{place}"
        deps = paths(stage["deps"])
        assert {str(found) for found in step.inputs(params).values()} <= deps
        if step.shipped is None:
            assert f"tasks/{step.name}.py" in deps
            assert {str(found.relative_to(ROOT)) for found in step.code_files(params).values()} <= deps
        presets = set() if step.shipped else {"recipe", "effort"}
        assert watched(stage, path) == (presets | set(step.sections)) & set(written)
        outs = paths(stage.get("outs", [])) | paths(stage.get("metrics", []))
        record = set() if step.shipped else {str(step.record_path(params))}
        assert outs == {str(found) for found in step.outputs(params).values()} | record


def test_the_parameters_spell_out_what_decides(path: Path) -> None:
    """DVC watches what is written: sections that a person changes, and otherwise the presets that fill them."""
    written = set(yaml.safe_load(path.read_text()))
    read = {name for step in chosen(Params.load(path)) for name in step.sections}
    assert read - written <= {"prepare_data", "build_vector", "make_images", "invert"}
    assert path != MAIN or {"recipe", "effort", "harden", "choose_strength", "evaluate"} <= written


def test_dvc_is_told_of_a_run_with_just_these_parameters(path: Path, params: Params) -> None:
    assert _that_says(params) == PIPELINES[path]
    assert _that_says(params.model_copy(update={"seed": 7})) is None


def test_what_is_shipped_is_what_its_record_says(params: Params) -> None:
    for step in chosen(params):
        if step.shipped is not None:
            assert step.current(params), f"{step.name} would run on a fresh clone"


def test_dvc_would_not_make_again_what_is_shipped() -> None:
    runs = {dvc: chosen(Params.load(path)) for path, dvc in PIPELINES.items()}
    shipped = [f"{dvc}:{step.name}" for dvc, steps in runs.items() for step in steps if step.shipped is not None]
    command = [sys.executable, "-m", "dvc", "status", *shipped]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "up to date" in run.stdout, f"`dvc commit -f {' '.join(shipped)}`, and commit the locks:\n{run.stdout}"


def test_the_lock_satisfies_the_project() -> None:
    pins = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", Path("requirements.lock").read_text(), re.M))
    pins = {name.lower().replace("_", "-"): Version(version) for name, version in pins.items()}
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        wanted = Requirement(text)
        name = wanted.name.lower().replace("_", "-")
        assert name in pins, f"{name} is not in requirements.lock"
        assert wanted.specifier.contains(pins[name]), f"{name} {pins[name]} is locked, {wanted.specifier} is wanted"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tasks.finetune"], "error: tasks.finetune is no command; write `python -m tasks finetune`."),
        (["tasks", "finetun"], "error: unknown step 'finetun'; did you mean 'finetune'"),
        (["tasks._stages"], "error: params.yaml does not exist; run this in the folder of a project."),
    ],
)
def test_what_cannot_be_run_says_what_can(words: list[str], said: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", *words]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith(said)
    assert not list(tmp_path.iterdir())
