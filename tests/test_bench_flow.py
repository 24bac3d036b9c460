"""The flow: finished cells survive kill -9, an attack of another distribution appears by itself, and the table is recorded."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench_place import SMALL, bench_place, bench_plan, enter
from typer.testing import CliRunner

from flows import cli
from flows.benchmark import run
from tasks._bench import Keys, finished
from tverase.bench.plan import Plan
from tverase.bench.presets import specs
from tverase.errors import ConfigError

ROOT = Path(__file__).parents[1]
NAMES = ("prompts", SMALL, "own", "slow")
CODE = """
import json, sys
from flows.benchmark import run
from tverase.bench.plan import Plan
run(Plan.model_validate_json(open("plan.json").read()), workers=1)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, pico_folder: Path) -> Iterator[Path]:
    folder = bench_place(tmp_path_factory.mktemp("flow"), pico_folder)
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        yield folder


def plan() -> Plan:
    """The slow attack waits for a file `go`."""
    found = bench_plan(names=NAMES, seconds=600)
    return found.model_copy(update={"rows": (found.rows[0], found.rows[3])})


def done(whole: Plan) -> dict[Path, int]:
    """The parts that are finished, each with the time of its file."""
    there = {}
    for stage in whole.stages():
        keys = Keys()
        there |= {w.path: w.path.stat().st_mtime_ns for w in stage if finished(keys.of(w)) is not None}
    return there


@pytest.fixture(scope="module")
def killed(place: Path, prefect_server: None) -> dict[Path, int]:
    """What was finished when the process was killed in the middle of the slow cell of the first row."""
    from prefect.settings import PREFECT_API_URL

    whole = plan()
    Path("plan.json").write_text(whole.model_dump_json())
    path = os.pathsep.join([str(place), str(ROOT), str(ROOT / "tests")])
    environment = {
        **os.environ,
        "PYTHONPATH": path,
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        "OMP_NUM_THREADS": "1",
    }
    process = subprocess.Popen([sys.executable, "-c", CODE], env=environment, stderr=subprocess.PIPE)
    last = place / "table/bomb/seed-0/base/own.json"  # the one before the slow cell
    try:
        end = time.monotonic() + 600
        while not last.exists():
            assert process.poll() is None, process.stderr.read().decode() if process.stderr else ""
            assert time.monotonic() < end
            time.sleep(0.05)
        time.sleep(0.3)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return done(whole)


@pytest.fixture(scope="module")
def result(killed: dict[Path, int]) -> dict[str, Any]:
    """What the second run answers."""
    Path("go").touch()
    return run(plan(), workers=2)


def test_a_killed_flow_repeats_no_finished_cell(killed: dict[Path, int], result: dict[str, Any]) -> None:
    names = {path.name for path in killed}
    assert {"material.json", "prompts.json", "own.json", "_retain.json", "_plain.json"} <= names
    assert "slow.json" not in names
    now = done(plan())
    assert {path: now[path] for path in killed} == killed
    assert result["parts"]["reused"] == len(killed)
    assert result["parts"]["run"] == len(now) - len(killed) > 0


def test_what_comes_out(result: dict[str, Any]) -> None:
    assert result["cells"] == {"done": 8, "failed": 0, "refused": 0}
    page = Path(result["page"]).read_text()
    assert "own" in page, "an attack of another distribution is a column"
    assert page.count("<img") >= 2 + 8
    assert "http" not in page.replace("http://www.w3.org", "")
    for name in ("bench.json", "cells.csv", "rows.csv", "ladder.png", "trade-off.png"):
        assert (Path("table") / name).exists()


def test_the_table_is_recorded(result: dict[str, Any]) -> None:
    import mlflow
    from prefect.artifacts import Artifact

    client = mlflow.MlflowClient()
    files = {file.path for folder in ("", "tables") for file in client.list_artifacts(result["run"], folder)}
    assert "bench.html" in {Path(file).name for file in files}
    assert "cells.csv" in {Path(file).name for file in files}
    assert client.get_run(result["run"]).data.metrics["blank.worst_recovery"] == 0.0
    summary = Artifact.get("bench-bomb-summary")
    assert summary is not None
    assert result["ahead"] in json.dumps(summary.data)


def test_again_runs_nothing(result: dict[str, Any]) -> None:
    again = run(plan())
    assert again["parts"] == {"run": 0, "reused": result["parts"]["run"] + result["parts"]["reused"]}
    assert again["run"] == result["run"], "the same content is recorded once"


@pytest.mark.usefixtures("place")
def test_attacks_of_other_packages_are_in_every_table() -> None:
    quick, whole = specs((), "attack", quick=True), specs((), "attack", quick=False)
    assert all(name in quick for name in ("crash", "nan", "own", "slow"))
    assert all(spec in whole for spec in quick)


def test_ray_is_refused_clearly_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import _ray

    monkeypatch.setattr(_ray, "find_spec", lambda _: None)
    with pytest.raises(
        ConfigError, match=r"needs the extra `ray`, which is not installed; run `pip install 'tverase\[ray\]'"
    ):
        _ray.require_installed()


def test_options_of_ray_need_ray(place: Path) -> None:
    answer = CliRunner().invoke(cli.app, ["bench", "--gpus", "1"])
    assert isinstance(answer.exception, ConfigError)
    assert "add --runner ray" in str(answer.exception)
