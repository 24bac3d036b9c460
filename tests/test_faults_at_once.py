"""Runs beside runs: the flow twice, the flow and `dvc repro`, two clones that share servers, and a fresh clone after `dvc pull`."""

import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faults import (
    LOG,
    PATIENCE,
    STEPS,
    UNTESTED,
    answer,
    done,
    ended,
    flow,
    new_project,
    nobody_is_left,
    nothing_is_half_written,
    records,
    repro,
    start,
    versions,
    whole,
)  # fmt: skip
from servers import command, free_port, running, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]
WAITING = "waiting for process"


@pytest.fixture
def place(tmp_path: Path, small_run: dict[str, Any]) -> Path:
    (tmp_path / "project").mkdir()
    return new_project(tmp_path / "project", small_run)


def made(result: dict[str, Any]) -> set[str]:
    return {name for name, step in result["steps"].items() if not step["reused"]}


def test_two_flows_make_everything_once(place: Path) -> None:
    """`make flow` from two shells: one waits and says so, then finds all of it done."""
    said = [ended(run, UNTESTED) for run in [start(place, *flow()), start(place, *flow())]]
    results = [answer(out) for out, _ in said]
    assert sorted(len(made(result)) for result in results) == [0, len(STEPS) + 1]
    assert sum(WAITING in err for _, err in said) == 1
    assert [int(one.version) for one in versions(place)] == [1] == [results[0]["version"]]
    nobody_is_left(place)
    nothing_is_half_written(place)


def test_a_flow_and_repro(place: Path) -> None:
    """Each step is made by one of them; whoever comes second waits for the lock, and says so."""
    first = start(place, *flow())
    wait_for(lambda: first.poll() is not None or records(place), seconds=300)
    second = start(place, *repro(*STEPS))
    out, err = ended(second)
    result, _ = ended(first, UNTESTED)
    assert WAITING in out + err, "the second one says for whom it waits"
    assert all(whole(place, name) for name in STEPS)
    assert made(answer(result)) <= {*STEPS, "report"}
    before = records(place)
    again = answer(done(place, *flow(), code=UNTESTED)[0])
    assert made(again) <= {"report"}, "nothing is made a third time"
    assert "Running" not in done(place, *repro(*STEPS))[0]
    assert {name: before[name] for name in STEPS} == {name: records(place)[name] for name in STEPS}
    assert len(versions(place)) == 1
    nothing_is_half_written(place)


def test_two_clones_share_their_servers(tmp_path: Path, place: Path) -> None:
    """One Prefect and one MLflow for both: the same content is one version, whoever is first."""
    other, port = tmp_path / "other", free_port()
    shutil.copytree(place, other)
    (tmp_path / "shared").mkdir()
    with running(command("serve", port), tmp_path / "shared", port, "/api/health", PATIENCE):
        password = (tmp_path / "shared" / ".prefect" / "auth").read_text().strip()
        more = {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PREFECT_API_AUTH_STRING": password}
        more["MLFLOW_TRACKING_URI"] = f"sqlite:///{tmp_path}/shared/mlflow.db"
        said = [ended(run, UNTESTED) for run in [start(folder, *flow(), **more) for folder in (place, other)]]
    assert [len(made(answer(out))) for out, _ in said] == [len(STEPS) + 1] * 2, "nothing but servers is shared"
    assert [answer(out)["version"] for out, _ in said] == [1, 1]
    assert len(versions(tmp_path / "shared")) == 1
    for folder in (place, other):
        nobody_is_left(folder)
        nothing_is_half_written(folder)


def test_a_fresh_clone_has_nothing_to_do(tmp_path: Path, place: Path) -> None:
    """After `dvc pull` neither caller runs a step, and each needs half a minute at most of an idle machine."""
    dvc = (sys.executable, "-m", "dvc")
    done(place, *dvc, "remote", "add", "-q", "--default", "store", str(tmp_path / "remote"))
    done(place, *flow(), code=UNTESTED)
    done(place, *dvc, "push", "-q")
    done(place, "git", "add", "-A")
    done(place, "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "made")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(place), str(clone)], check=True)
    done(clone, *dvc, "pull", "-q", *STEPS, "report")
    took = dict[str, tuple[float, float]]()
    with measured("repro", took):
        assert "Running" not in done(clone, *repro(*STEPS, "report"))[0]
    with measured("flow", took):
        result = answer(done(clone, *flow(), code=UNTESTED)[0])
    assert made(result) == set()
    LOG.warning("seconds of a fresh clone, computing and in all: %s", took)
    assert max(computing for computing, _ in took.values()) <= 30, took  # others may use this machine as well


@contextmanager
def measured(name: str, took: dict[str, tuple[float, float]]) -> Iterator[None]:
    """The seconds that the block's commands compute, and that pass."""

    def computed() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before, began = computed(), time.monotonic()
    yield
    took[name] = computed() - before, time.monotonic() - began
