"""The verdict decides: the console's first line, the exit code, the state, the artefact and the tags; infeasible too."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import _outcome, _run, cli
from tverase.config import Params
from tverase.errors import Infeasible, NotProved
from tverase.world.vocabulary import Vocabulary

STEPS = {"erase": {"reused": False, "seconds": 1.0}}
METRICS = {
    "alpha": 0.05, "recovery": {"name": 0.83}, "worst_inversion": 0.9, "worst_inversion_high": 0.95,
    "retain": {"base": 0.99, "erased": 0.98, "loss": 0.01, "loss_low": -0.01, "loss_high": 0.03},
}  # fmt: skip


def answer(outcome: str, title: str) -> dict[str, Any]:
    said = {"outcome": outcome, "title": title, "why": "Asked for by name, bomb comes back."}
    return {
        "steps": STEPS,
        "report": "r",
        "erased": "e",
        "model": "m",
        "version": 1,
        "verdict": said,
        "metrics": METRICS,
    }


@pytest.mark.parametrize(
    ("outcome", "title", "first", "code"),
    [
        ("erased", "bomb erased", "bomb erased", 0),
        ("refuted", "bomb not erased", "Refuted: bomb not erased", 11),
        ("unconfirmed", "bomb erased, not confirmed", "Unconfirmed: bomb erased, not confirmed", 11),
        ("untested", "bomb: not tested", "Untested: bomb: not tested", 11),
        ("infeasible", "bomb not erased: infeasible", "Infeasible: bomb not erased: infeasible", 10),
    ],
)
def test_first_line_and_exit_code(
    outcome: str, title: str, first: str, code: int, small_run: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    result = answer(outcome, title)
    _run.summary(Params.parse(small_run), result)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == first
    assert len(lines) <= 25
    if not code:
        _outcome.require_proved(result)
        return
    with pytest.raises((NotProved, Infeasible)) as told:
        _outcome.require_proved(result)
    assert told.value.exit_code == code
    assert "bomb comes back" in str(told.value)


@pytest.fixture
def place(tmp_path: Path, small_run: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml for the pico model, which draws nothing and so proves nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    Path("params.yaml").write_text(yaml.safe_dump(small_run))
    return tmp_path


def call(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setattr(sys, "argv", ["tverase", *arguments])
    try:
        cli.main()
        code = 0
    except SystemExit as left:
        code = int(left.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def last_state() -> Any:
    """The state of the flow run that ended last, as the server has it; other tests leave runs that are scheduled for later."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterEndTime
    from prefect.client.schemas.sorting import FlowRunSort

    ended = FlowRunFilter(end_time=FlowRunFilterEndTime(is_null_=False))
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=ended, sort=FlowRunSort.END_TIME_DESC, limit=1)[0].state


def summary_of(key: str) -> Any:
    from prefect.artifacts import Artifact

    return Artifact.get(key)


def test_unproved_and_infeasible_runs_are_results(
    place: Path,
    small_run: dict[str, Any],
    words: Vocabulary,
    prefect_server: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from prefect.settings import PREFECT_API_URL

    monkeypatch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))
    code, out, err = call(["run"], monkeypatch, capsys)
    assert code == 11, err
    assert out.startswith("Untested: bomb: not tested\n")
    assert err.splitlines()[-1].startswith("error: bomb: not tested (untested). Asked for by name, the base model")
    assert "Traceback" not in err
    state = last_state()
    assert (state.type.value, state.name) == ("COMPLETED", "Untested")
    assert summary_of("erase-bomb-summary").data.startswith("# Untested: bomb: not tested")
    page = Path("outputs/bomb/report.html")
    assert "bomb: not tested" in page.read_text()

    # To this judge every image shows everything, so that no strength erases: the old result goes, and the report says so.
    labels = [*words.objects, *words.styles]
    Path("seer.py").write_text(
        f"import torch\n\n\ndef all(images):\n    return torch.ones(len(images), {len(labels)})\n"
    )
    judge = {"kind": "python", "function": "seer:all", "labels": labels, "threshold": 0.5}
    choice = {**small_run["choose_strength"], "epsilon": 0.3, "round": 20}
    Path("params.yaml").write_text(yaml.safe_dump({**small_run, "judge": judge, "choose_strength": choice}))
    code, out, err = call(["run", "--json"], monkeypatch, capsys)
    assert code == 10, err
    result = json.loads(out)
    assert result["verdict"]["outcome"] == "infeasible"
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("error: No strength meets both bounds")
    assert (last_state().type.value, last_state().name) == ("COMPLETED", "Infeasible")
    assert "bomb not erased: infeasible" in page.read_text()
    assert summary_of("erase-bomb-summary").data.startswith("# Infeasible: bomb not erased: infeasible")
    left = {path.name for path in Path("outputs/bomb").iterdir()}
    assert left.isdisjoint({"erased", "tau.safetensors", "evaluation", "metrics.json", "tables", "pictures"})
    client = mlflow_client()
    assert client.get_run(result["run"]).data.tags["verdict"] == "infeasible"
    assert {file.path for file in client.list_artifacts(result["run"])} >= {"report.html", "strength.json", "figures"}
    assert verdicts(client) == {"1": "untested"}

    # A strength by hand that does not erase either.
    code, out, err = call(["run", "--set", "erase.alpha=0.5"], monkeypatch, capsys)
    assert code == 11, err
    assert out.startswith("Refuted: bomb not erased\n")
    assert last_state().name == "Refuted"
    assert "100.0%" in summary_of("erase-bomb-summary").data
    assert verdicts(client) == {"1": "untested", "2": "refuted"}
    assert client.get_registered_model("tverase-bomb").aliases == {}
    assert call(["run"], monkeypatch, capsys)[0] == 10  # and back again
    assert not Path("outputs/bomb/erased").exists()


def mlflow_client() -> Any:
    import mlflow

    from tasks._tracking import configure

    configure()
    return mlflow.MlflowClient()


def verdicts(client: Any) -> dict[str, str]:
    """Of each registered version its verdict."""
    found = client.search_model_versions("name = 'tverase-bomb'")
    return {str(version.version): version.tags["verdict"] for version in found}


def test_what_cannot_be_recorded_is_found_before_the_work(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:./mlruns")
    code, out, err = call(["run"], monkeypatch, capsys)
    assert (code, out) == (9, "")
    assert err.startswith("error: MLFLOW_TRACKING_URI is 'file:./mlruns', a folder")
    assert err.count("\n") == 1
    assert [path.name for path in place.iterdir()] == ["params.yaml"]
