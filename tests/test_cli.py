"""The command line: what it says when it is asked wrongly, with which exit code, and that it leaves nothing behind."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from flows import cli

ROOT = Path(__file__).parents[1]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_run: dict[str, Any]) -> Path:
    """A working folder with params.yaml for the pico model and nothing else."""
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(small_run))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """`tverase ...` in this process: (exit code, stdout, stderr)."""
    monkeypatch.setattr(sys, "argv", ["tverase", *arguments])
    try:
        cli.main()
        code = 0
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize("command", [[], ["run"], ["status"], ["draw"], ["report"]])
def test_help_teaches(command: list[str]) -> None:
    answer = CliRunner().invoke(cli.app, [*command, "--help"])
    assert answer.exit_code == 0
    assert "Usage" in answer.output
    if not command:
        assert "Exit codes" in answer.output
        for name in ("run", "status", "draw", "report"):
            assert name in answer.output


WRONG = {
    "a concept file that is not there": (["run", "--set", "concepts=[concepts/bom.yaml]"], 2, "does not exist"),
    "a concept without a judge": (["run", "--set", "concepts=[bom]", "--set", "judge="], 2, "did you mean 'bomb'"),
    "an unknown parameter": (["run", "--set", "finetune.step=3"], 2, "finetune.step"),
    "an unknown section": (["status", "--set", "finetun.steps=3"], 2, "did you mean 'finetune'"),
    "a wrong type": (["run", "--set", "finetune.steps=many"], 2, "finetune.steps"),
    "an impossible value": (["run", "--set", "invert.bins=[[0.5,0.2]]"], 2, "bin"),
    "no value": (["run", "--set", "finetune.steps"], 2, "KEY=VALUE"),
    "an unknown step": (["run", "--force", "finetun"], 2, "did you mean 'finetune'"),
    "an unknown first step": (["run", "--from", "inver"], 2, "did you mean 'invert'"),
    "no params": (["status", "--params", "none.yaml"], 2, "none.yaml"),
    "no result to report": (["report"], 3, "tverase run"),
    "no result to draw": (["draw", "a bomb"], 3, "tverase run"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=list(WRONG))
def test_a_mistake_is_one_sentence_and_an_exit_code(
    case: tuple[list[str], int, str], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, expected, says = case
    code, out, err = call(arguments, monkeypatch, capsys)
    assert code == expected
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert says in err
    assert [path.name for path in place.iterdir()] == ["params.yaml"], "nothing was left behind"


def missing(folder: Path) -> None:
    shutil.rmtree(folder)


def incomplete(folder: Path) -> None:
    (folder / "unet" / "config.json").unlink()


def truncated(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def corrupt(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"\xff" * 64)


def pickled(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_suffix(".bin"))


def another_pipeline(folder: Path) -> None:
    path = folder / "model_index.json"
    path.write_text(path.read_text().replace("StableDiffusionPipeline", "FluxPipeline"))


@pytest.mark.parametrize("damage", [missing, incomplete, truncated, corrupt, pickled, another_pipeline])
def test_a_model_that_cannot_be_used(
    damage: Any, place: Path, pico_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = place / "model"
    shutil.copytree(pico_folder, folder)
    damage(folder)
    code, out, err = call(["run", "--model", str(folder)], monkeypatch, capsys)
    assert code == 4
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert str(folder) in err
    assert {path.name for path in place.iterdir()} <= {"params.yaml", "model"}, "not even a server was started"


def test_status_is_machine_readable(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = call(["status", "--json"], monkeypatch, capsys)
    assert code == 0
    found = json.loads(out)
    assert found["evaluate"]["state"] == "would run"


def test_our_own_model_can_be_made_and_is_never_sought_on_a_hub(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(["status", "--json", "--model", "models/emoji-sd"], monkeypatch, capsys)
    assert (code, err) == (0, "")
    assert {step["state"] for step in json.loads(out).values()} == {"would run"}
    assert list(json.loads(out))[:2] == ["prepare_data", "pretrain"]


def test_the_shipped_model_is_up_to_date(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    code, out, _ = call(["status", "--json"], monkeypatch, capsys)
    assert code == 0
    assert json.loads(out)["pretrain"]["state"] == "up to date"


def test_a_process_of_its_own_ends_in_one_sentence_too(place: Path, prefect_server: None) -> None:
    from prefect.settings import PREFECT_API_URL

    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_LOGGING_LEVEL"}
    environment |= {"PYTHONPATH": str(ROOT), "PREFECT_API_URL": PREFECT_API_URL.value(), "PREFECT_HOME": str(place)}
    run = subprocess.run(
        [sys.executable, "-m", "flows.cli", "run", "--set", "make_images.at_least=1"],
        cwd=place, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 5, run.stderr
    assert run.stdout == ""
    *before, last = run.stderr.splitlines()
    assert last.startswith("error: the base model draws 'bomb' in only ")
    assert [line for line in before if not line.startswith("make_images: ")] == [], "progress, no traceback, no bars"
    assert "\x1b" not in run.stderr, "no colours where there is no terminal"
    assert list((place / "outputs" / "bomb").iterdir()) == []


@pytest.mark.parametrize("arguments", [["erase"], ["run", "--sett", "a=b"], ["draw"]])
def test_typers_own_mistakes_have_the_same_code(
    arguments: list[str], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(arguments, monkeypatch, capsys)
    assert code == 2
    assert "Usage" in err
