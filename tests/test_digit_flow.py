"""The digit experiment as a flow, on a tiny model of random weights: what comes out, and what a second call does."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_digit_steps import finished, params  # noqa: F401 - a fixture
from typer.testing import CliRunner

from flows import _run, cli
from flows.unconditional_safety import unconditional_safety
from tasks._all import digit_steps
from tasks._tracking import configure
from tverase.config import Params


@pytest.fixture(autouse=True)
def at(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    monkeypatch.chdir(finished)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{finished}/mlflow.db")
    return finished


@pytest.fixture
def answer(prefect_server: None, at: Path) -> dict[str, Any]:
    found: dict[str, Any] = unconditional_safety(params())
    return found


def test_what_comes_out_and_nothing_twice(answer: dict[str, Any], at: Path) -> None:
    import mlflow

    assert all(step["reused"] for step in answer["steps"].values()), "the steps had run before, outside of Prefect"
    page = Path(answer["report"]).read_text()
    assert "Unconditional safety: digit 3" in page
    assert page.count("<img") > 10
    assert {p.name for p in (at / "outputs/digit-3/plots").iterdir()} == {"alpha.png", "complexity.png"}
    configure()
    run = mlflow.MlflowClient().get_run(answer["run"])
    assert run.data.tags["digit"] == "3"
    assert run.data.metrics["base.others"] >= 0
    assert {a.path for a in mlflow.MlflowClient().list_artifacts(answer["run"])} >= {"figures", "tables", "report.html"}
    assert unconditional_safety(params())["run"] == answer["run"]


def test_the_summary_fits_on_a_screen(answer: dict[str, Any], at: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = json.loads((at / "outputs/digit-3/metrics.json").read_text())
    _run.digit_summary(params(), {**answer, "metrics": numbers})
    said = capsys.readouterr().out
    assert len(said.splitlines()) <= 25
    assert "esd" in said


def test_a_model_that_is_given_is_not_trained() -> None:
    assert "pretrain_digits" not in [step.name for step in digit_steps(params())]
    assert digit_steps(Params())[0].name == "pretrain_digits"


@pytest.mark.parametrize("options", [["--digit", "10"], ["--set", "digits.unconditional.complexities=[1]"]])
def test_what_is_no_experiment_is_refused(options: list[str], at: Path) -> None:
    (at / "params.yaml").write_text("digits: {model: model}\n")
    result = CliRunner().invoke(cli.app, ["digits", *options])
    assert result.exit_code != 0
