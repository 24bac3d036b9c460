"""`tverase init` writes a project that runs; and what the command line says of itself."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.flows import load_flow_from_entrypoint
from typer.testing import CliRunner

from flows import _init, cli
from tasks._stages import pipeline
from tverase.config import Params
from tverase.errors import StorageError

ROOT = Path(__file__).parents[1]
FILES = {"params.yaml", "dvc.yaml", "prefect.yaml", ".gitignore"}


def call(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, list(arguments))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def found(place: Path) -> set[str]:
    return {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}


def test_it_writes_a_project_for_a_model_that_is_not_fetched(place: Path) -> None:
    answer = call("init", "--concept", "van gogh", "--kind", "style", "--model", "someone/a-model")
    assert answer.exit_code == 0, answer.output
    assert found(place) == {*FILES, "concepts/van-gogh.yaml"}
    assert answer.output.endswith("then\n  tverase concept check concepts/van-gogh.yaml\n  tverase run\n")
    params = Params.load(Path("params.yaml"))
    assert (params.name, params.model, params.concept_list[0].kind) == ("van-gogh", "someone/a-model", "style")
    stages = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]
    assert {"make_images", "evaluate"} <= stages.keys()
    assert stages["make_images"]["deps"] == ["concepts/van-gogh.yaml"], "no source of the package, no hub id"
    assert "model" in stages["make_images"]["params"]
    assert not any("site-packages" in dep or dep.endswith(".py") for s in stages.values() for dep in s["deps"])


def test_the_settings_are_those_of_the_example() -> None:
    text = _init.params_text(Path("concepts/van-gogh.yaml"), "x/y", stable_diffusion=True)
    mine, example = yaml.safe_load(text), yaml.safe_load((ROOT / "params/stable-diffusion.yaml").read_text())
    same = {key: example[key] for key in ("concepts", "model", "runtime")}
    assert Params.parse({**mine, **same}) == Params.parse(example)


def test_the_deployments_are_those_of_the_repository() -> None:
    theirs, mine = ((path / "prefect.yaml").read_text() for path in (ROOT, ROOT / "flows/templates"))
    shared = theirs.partition("\n# What follows is of this repository alone.")[0]
    assert re.sub(r"entrypoint: flows\.(\w+)\.(\w+)", r"entrypoint: flows/\1.py:\2", mine) == shared
    for deployment in yaml.safe_load(mine)["deployments"]:
        flow = load_flow_from_entrypoint(deployment["entrypoint"], use_placeholder_flow=False)
        assert flow.name == deployment["tags"][1]


@pytest.mark.parametrize("name", [*sorted(FILES), "concepts/bomb.yaml"])
def test_nothing_is_overwritten(place: Path, name: str) -> None:
    path = place / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    answer = call("init")
    assert f"{name} would be overwritten" in str(answer.exception)
    assert found(place) == {name}
    assert path.read_text() == "mine"


def test_a_failure_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        if path.name == "dvc.yaml":
            raise StorageError("no space is left.")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    monkeypatch.setattr(_init, "write_text", full)
    assert isinstance(call("init").exception, StorageError)
    assert list(place.iterdir()) == []


def test_an_embedded_model_comes_with_its_judge_and_runs(
    place: Path,
    pico_folder: Path,
    judges_folder: Path,
    small_run: dict[str, Any],
    prefect_server: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from prefect.settings import PREFECT_API_URL

    monkeypatch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place}/mlflow.db")
    shutil.copytree(pico_folder, place.parent / "models/pico")
    shutil.copytree(judges_folder, place.parent / "models/judges")
    assert call("init", "--model", "../models/pico").exit_code == 0
    params = Params.load(Path("params.yaml"))
    (concept,), original = params.concept_list, Params().concept_list[0]
    assert (concept.names, concept.tuning, concept.label) == (original.names, original.tuning, "bomb")
    assert {p.text: p.labels for p in concept.retain} == {p.text: p.labels for p in original.retain}
    assert concept.judge == {"kind": "embedded", "folder": "../models/judges"}
    sections = {name: value for name, value in small_run.items() if isinstance(value, dict) and name != "judge"}
    answer = call(
        "run", *(part for name, value in sections.items() for part in ("--set", f"{name}={json.dumps(value)}"))
    )
    assert type(answer.exception).__name__ == "NotProved", answer.exception  # random weights draw no bomb
    assert "Untested: bomb: not tested" in answer.output
    assert Path("outputs/bomb/report.html").exists()
    assert Path("dvc.yaml").read_text() == pipeline(Path("params.yaml"), Path("dvc.yaml"), place)


def test_help_keeps_brackets_and_names_every_option() -> None:
    text = call("run", "--help").output
    assert "--set 'concepts=[skull]'" in text
    for option in ("--set", "--model", "--from", "--force", "--strict", "--params", "--json"):
        assert option in text


def test_the_version_is_that_of_the_package() -> None:
    from importlib import metadata

    assert call("--version").output == f"tverase {metadata.version('tverase')}\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [("tverase r", "run"), ("tverase run --force ", "make_images"), ("tverase list ", "judges")],
)
def test_a_shell_completes(words: str, expected: str) -> None:
    import os

    environment = {**os.environ, "_TVERASE_COMPLETE": "complete_bash", "COMP_WORDS": words}
    environment["COMP_CWORD"] = str(words.count(" "))
    code = "import sys; sys.argv[0] = 'tverase'; from flows import cli; cli.main()"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert expected in run.stdout.splitlines(), run.stderr


def test_the_steps_that_a_shell_completes_are_there() -> None:
    for name in cli._steps():
        assert importlib.util.find_spec(f"tasks.{name}") is not None
