"""MLflow's database: what cannot be used is found before the work, and no kill leaves half of a new one."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks import _database
from tverase.errors import TrackingError

ROOT = Path(__file__).parents[1]
CHECK = [
    sys.executable,
    "-c",
    "from tasks._database import check_tracking; print('there', flush=True); check_tracking()",
]


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    import mlflow

    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A new database, as bytes."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/a place/mlflow.db")
        _database.check_tracking()
        _database.check_tracking()  # and one that is there is used
    assert sorted(path.name for path in (folder / "a place").iterdir()) == [".tverase", "mlflow.db"]
    return (folder / "a place" / "mlflow.db").read_bytes()


@pytest.mark.parametrize("uri", ["file:./mlruns", "mlruns", "/tmp/mlruns"])
def test_a_folder_is_no_store(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(TrackingError, match=r"a folder.*sqlite:///mlflow\.db") as told:
        _database.check_tracking()
    assert told.value.exit_code == 9
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("revision", ["0123456789ab", "451aebb31d03", None])
def test_a_database_of_another_version_is_refused_and_not_touched(
    revision: str | None, made: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mlflow.db").write_bytes(made)
    with sqlite3.connect("mlflow.db") as database:
        database.execute("DROP TABLE webhooks")
        database.execute("UPDATE alembic_version SET version_num = ?" if revision else "DELETE FROM alembic_version",
                         (revision,) if revision else ())  # fmt: skip
    database.close()
    before = Path("mlflow.db").read_bytes()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    with pytest.raises(TrackingError, match=r"another version of MLflow.*mlflow db upgrade") as told:
        _database.check_tracking()
    assert "\n" not in str(told.value)
    assert Path("mlflow.db").read_bytes() == before


def test_what_is_no_database_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mlflow.db").write_text("this is a text and not a database, and it is long enough to look like one" * 20)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    with pytest.raises(TrackingError, match="file is not a database"):
        _database.check_tracking()


def test_an_empty_file_and_what_a_kill_left_are_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite leaves an empty file where MLflow was killed at once, and a journal of what is gone."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    Path("mlflow.db").touch()
    for name in (".mlflow.db.part", ".mlflow.db.part-journal", "mlflow.db-journal"):
        Path(name).write_bytes(b"half of something" * 100)
    _database.check_tracking()
    assert sorted(path.name for path in Path.cwd().iterdir()) == [".tverase", "mlflow.db"]


def test_one_that_holds_the_lock_is_waited_for(tmp_path: Path) -> None:
    where = f"sqlite:///{tmp_path}/mlflow.db"
    program = "import sys\nfrom tasks._database import locked\nwith locked(sys.argv[1]): print('in', flush=True)"
    with _database.locked(where):
        other = subprocess.Popen(
            [sys.executable, "-c", program, where], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert other.stderr is not None
        assert other.stderr.readline().startswith("MLflow: waiting for another process")
        assert other.poll() is None
    out, _ = other.communicate(timeout=60)
    assert (out, other.returncode) == ("in\n", 0)


def test_kills_while_a_database_is_first_made_leave_nothing_broken(tmp_path: Path) -> None:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db", "OMP_NUM_THREADS": "1"}
    rng, killed_inside = random.Random(0), 0
    for _ in range(6):
        process = subprocess.Popen(CHECK, cwd=ROOT, env=environment, stdout=subprocess.PIPE, start_new_session=True)
        assert process.stdout is not None
        process.stdout.readline()
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob(".mlflow.db.part*")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 1.0))
        killed_inside += process.poll() is None
        os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
        process.wait()
        process.stdout.close()
        if (tmp_path / "mlflow.db").exists():
            assert (tmp_path / "mlflow.db").stat().st_size > 0
            (tmp_path / "mlflow.db").unlink()
    assert killed_inside, "no kill hit the making"
    done = subprocess.run(CHECK, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tverase", "mlflow.db"]
