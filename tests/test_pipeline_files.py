"""dvc.yaml, params.yaml and the lock file against the code that they speak of."""

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

from tasks._all import DIGIT_STEPS, STEPS
from tasks._dvc import DIGIT_STAGES, STAGES
from tasks._step import Step
from tverase.config import Params

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture
def params() -> Params:
    return Params.load(Path("params.yaml"))


@pytest.fixture
def pipeline(params: Params) -> dict[str, Any]:
    """dvc.yaml with its names filled in."""
    return filled("dvc.yaml", params)


def filled(path: str, params: Params) -> dict[str, Any]:
    """A file of stages with its names filled in."""
    text = Path(path).read_text()
    for key in ("name", "model", "judges", "digits.digit", "digits.model"):
        text = text.replace("${" + key + "}", str(params.section(key)))
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def paths(items: list[Any]) -> set[str]:
    """The paths of DVC's lists, whose items may carry options."""
    return {next(iter(item)) if isinstance(item, dict) else item for item in items}


def test_every_step_is_a_stage_and_every_stage_a_step(pipeline: dict[str, Any]) -> None:
    assert list(pipeline["stages"]) == [step.name for step in STEPS]
    assert set(STAGES) == {step.name for step in STEPS if step.shipped is None}


def test_so_it_is_with_the_digits(params: Params) -> None:
    assert list(filled("digits/dvc.yaml", params)["stages"]) == [step.name for step in DIGIT_STEPS]
    mine = [f"digits/dvc.yaml:{step.name}" for step in DIGIT_STEPS if step.shipped is None]
    assert list(DIGIT_STAGES) == mine


@pytest.mark.parametrize("step", [*STEPS, *DIGIT_STEPS], ids=lambda step: step.name)
def test_a_stage_says_what_its_step_does(step: Step, params: Params) -> None:
    stage = filled("digits/dvc.yaml" if step in DIGIT_STEPS else "dvc.yaml", params)["stages"][step.name]
    assert stage["cmd"] == f"python -m tasks.{step.name}"
    deps = paths(stage["deps"])
    assert f"tasks/{step.name}.py" in deps
    assert {str(path) for path in step.inputs(params).values()} <= deps
    assert {str(path.relative_to(ROOT)) for path in step.code_files()} <= deps
    assert set(stage.get("params", [])) == set(step.sections) - {"prepare_data"}
    outs = paths(stage.get("outs", [])) | paths(stage.get("metrics", []))
    assert outs == {str(path) for path in step.outputs(params).values()}


def test_params_yaml_spells_out_what_dvc_watches(pipeline: dict[str, Any]) -> None:
    written = yaml.safe_load(Path("params.yaml").read_text())
    watched = {name for stage in pipeline["stages"].values() for name in stage.get("params", [])}
    assert watched <= set(written), "dvc cannot watch a section that params.yaml does not have"


def test_what_is_shipped_is_what_its_record_says(params: Params) -> None:
    for step in (*STEPS, *DIGIT_STEPS):
        if step.shipped is not None:
            assert step.current(params), f"{step.name} would run on a fresh clone"


def test_dvc_would_not_make_again_what_is_shipped() -> None:
    shipped = [step.name for step in STEPS if step.shipped is not None]
    command = [sys.executable, "-m", "dvc", "status", *shipped]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "up to date" in run.stdout, "`dvc commit -f prepare_data pretrain`, and commit dvc.lock:\n" + run.stdout


def test_the_lock_satisfies_the_project() -> None:
    pins = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", Path("requirements.lock").read_text(), re.M))
    pins = {name.lower().replace("_", "-"): Version(version) for name, version in pins.items()}
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        wanted = Requirement(text)
        name = wanted.name.lower().replace("_", "-")
        assert name in pins, f"{name} is not in requirements.lock"
        assert wanted.specifier.contains(pins[name]), f"{name} {pins[name]} is locked, {wanted.specifier} is wanted"
