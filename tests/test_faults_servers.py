"""Servers that go away, are slow or refuse in the middle of a run: retries, then one sentence; what was made is kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faults import (
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
    said_once,
    start,
    tverase,
    versions,
    whole,
)  # fmt: skip
from servers import command, free_port, running, wait_for

from tests import s3_server
from tests.s3_server import BUCKET, KEY, SECRET, Proxy, refusal, seaweed
from tverase.files import sha256

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]


@pytest.fixture
def place(tmp_path: Path, small_run: dict[str, Any]) -> Path:
    (tmp_path / "project").mkdir()
    return new_project(tmp_path / "project", small_run)


@contextmanager
def mlflow(folder: Path, port: int) -> Iterator[Any]:
    folder.mkdir(exist_ok=True)
    with running(command("ui", port), folder, port, "/health", PATIENCE) as server:
        yield server


def test_mlflow_is_restarted_while_a_run_registers(place: Path, tmp_path: Path) -> None:
    """The registration is tried again: the run ends as if nothing had been."""
    port = free_port()
    more = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    with mlflow(tmp_path / "mlflow", port) as server:
        run = start(place, *flow(), **more)
        wait_for(lambda: run.poll() is not None or "erase" in records(place), seconds=600)
        server.kill()
    assert run.stderr is not None
    line = ""
    while "It is tried again" not in line:
        line = run.stderr.readline()
        assert line, f"the run ended with {run.wait()} and tried nothing again"
    with mlflow(tmp_path / "mlflow", port):
        result = answer(ended(run, UNTESTED)[0])
        assert result["version"] == 1
        again = answer(done(place, *flow(), code=UNTESTED, **more)[0])
        assert (again["version"], [step for step in again["steps"].values() if not step["reused"]]) == (1, [])
        assert len(versions(place, more["MLFLOW_TRACKING_URI"])) == 1
    nothing_is_half_written(place)


def test_mlflow_stays_away(place: Path, tmp_path: Path) -> None:
    """One sentence, and everything but the registration is there; the next run registers and makes nothing again."""
    port = free_port()
    more = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    with mlflow(tmp_path / "mlflow", port) as server:
        run = start(place, *flow(), **more)
        wait_for(lambda: run.poll() is not None or "erase" in records(place), seconds=600)
        server.kill()
    _, err = ended(run, 9)
    said_once(err, "MLflow at http://127.0.0.1")
    assert err.count("It is tried again") >= 3
    assert all(whole(place, name) for name in (*STEPS, "report"))
    with mlflow(tmp_path / "mlflow", port):
        result = answer(done(place, *flow(), code=UNTESTED, **more)[0])
        assert [name for name, step in result["steps"].items() if not step["reused"]] == []
        assert len(versions(place, more["MLFLOW_TRACKING_URI"])) == 1


def test_prefect_goes_away_in_the_middle(place: Path, tmp_path: Path) -> None:
    """One sentence and exit code 7; finished steps are kept, and the next run goes on without it."""
    port = free_port()
    (tmp_path / "shared").mkdir()
    with running(command("serve", port), tmp_path / "shared", port, "/api/health", PATIENCE) as server:
        password = (tmp_path / "shared" / ".prefect" / "auth").read_text().strip()
        more = {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PREFECT_API_AUTH_STRING": password}
        run = start(place, *flow(), **more)
        wait_for(lambda: run.poll() is not None or "invert" in records(place), seconds=600)
        server.kill()
        _, err = ended(run, 7)
    said_once(err, "the Prefect server does not answer any more")
    finished = {name: content for name, content in records(place).items() if whole(place, name)}
    assert set(finished) >= {"make_images", "finetune", "build_vector", "invert"}
    done(place, *flow(), code=UNTESTED)
    assert {name: records(place)[name] for name in finished} == finished
    nobody_is_left(place)
    nothing_is_half_written(place)


@pytest.mark.skipif(s3_server.WEED is None, reason="there is no wheel of SeaweedFS for this machine")
def test_a_store_that_refuses_costs_a_warning_and_publish_completes_it_later(place: Path, tmp_path: Path) -> None:
    with seaweed(tmp_path / "seaweed") as port:
        proxy = Proxy(port)
        store = f"s3://{BUCKET}/refusing"
        keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}
        keys |= {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{proxy.port}", "AWS_EC2_METADATA_DISABLED": "true"}
        proxy.answer = refusal(403, "AccessDenied")
        _, err = done(place, *flow(), code=UNTESTED, TVERASE_STORE=store, **keys)
        assert err.count("The shared cache is left out of this run") == 1
        assert all(whole(place, name) for name in (*STEPS, "report"))

        publish = tverase("publish", "bomb", "--unproved", "--to", store)
        _, err = done(place, *publish, code=6, **keys)
        said_once(err, "AWS_ACCESS_KEY_ID")
        proxy.healthy()
        proxy.pause = 0.005
        done(place, *publish, **keys)
        fetch = tverase("fetch", "bomb", "--from", store, "--to", str(tmp_path / "back"))
        done(place, *fetch, **keys)
        assert sha256(tmp_path / "back" / "erased") == sha256(place / "outputs" / "bomb" / "erased")
        proxy.close()
    _, err = done(place, *publish, code=7, AWS_MAX_ATTEMPTS="2", **keys)
    said_once(err, "does not answer")
