"""A project with its own copy of the sources, runs that are killed in it, and what has to be true afterwards.

The copy keeps the keys of the steps still while somebody edits the repository.
"""

import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from servers import environment, processes, wait_for

from tasks._record import Record
from tasks._stages import pipeline

ROOT = Path(__file__).parents[1]
LOG = logging.getLogger("tests.faults")
SEED = int(os.environ.get("FAULTS_SEED", "0"))  # of the moments and signals; the log names it
SIGNALS = (signal.SIGKILL, signal.SIGTERM)
HALF = ("*.part", ".*.part", ".tmp*", "*-journal", "*.incomplete")  # names of what is being written
UNTESTED = 11  # how a run on random weights ends: whole, registered, and without a proof
PATIENCE = 900.0
STEPS = (
    "make_images",
    "finetune",
    "build_vector",
    "invert",
    "select",
    "harden",
    "choose_strength",
    "erase",
    "evaluate",
)


def chance_of(what: str) -> random.Random:
    """The same moments in every session; FAULTS_SEED gives others."""
    return random.Random(f"{SEED}/{what}")


def new_project(folder: Path, params: dict[str, Any]) -> Path:
    """A repository of git and DVC with a copy of the sources and the stages."""
    for name in ("flows", "tasks", "tverase"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".gitignore", folder)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    (folder / "dvc.yaml").write_text(pipeline(Path("params.yaml"), Path("dvc.yaml"), folder))
    (folder / "records").mkdir()
    done(folder, "git", "init", "-q")
    done(folder, sys.executable, "-m", "dvc", "init", "-q")
    return folder


def at_home(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a command in a project: its own sources, its own MLflow, this Python first for DVC's stages."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PYTHONPATH": str(folder), "PATH": path, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return {**environment(), **own, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", **more}


def start(folder: Path, *words: str, **more: str) -> "subprocess.Popen[str]":
    """A command in a project, in a process group of its own."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    return subprocess.Popen(words, cwd=folder, env=at_home(folder, **more), text=True, start_new_session=True, **pipes)


def done(folder: Path, *words: str, code: int = 0, **more: str) -> tuple[str, str]:
    """What a command says on stdout and stderr once it has ended with `code`."""
    return ended(start(folder, *words, **more), code)


def ended(command: "subprocess.Popen[str]", code: int = 0) -> tuple[str, str]:
    """The same of one that was started."""
    out, err = command.communicate(timeout=PATIENCE)
    assert command.returncode == code, f"{command.args}: {command.returncode}\n{out}\n{err}"
    assert "Traceback" not in err
    assert "unforeseen" not in err
    return out, err


def tverase(*words: str) -> list[str]:
    return [sys.executable, "-m", "flows.cli", *words]


def flow(*overrides: str) -> list[str]:
    return tverase("run", "--json", *(word for text in overrides for word in ("--set", text)))


def repro(*stages: str) -> list[str]:
    return [sys.executable, "-m", "dvc", "repro", *stages, "--single-item"]


def records(folder: Path) -> dict[str, bytes]:
    """The records of the run in a project, by step."""
    found = {}
    for path in (folder / "outputs" / "bomb" / "records").glob("*.json"):
        try:
            found[path.stem] = path.read_bytes()
        except FileNotFoundError:  # a step puts its last result away just now
            continue
    return found


def whole(folder: Path, name: str) -> bool:
    """Whether a step's record is there, and every output is as it says."""
    record = Record.read(folder / "outputs" / "bomb" / "records" / f"{name}.json")
    if record is None:
        return False
    with here(folder):
        return record.whole({path: Path(path) for path in record.outputs})


@contextmanager
def here(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def killed(run: "subprocess.Popen[str]", number: signal.Signals, *, group: bool = False) -> tuple[str, str]:
    """Send the signal, and what the process said; after SIGTERM that is one sentence on stderr beside progress."""
    os.killpg(run.pid, number) if group else run.send_signal(number)
    out, err = run.communicate(timeout=180)  # within ten on an idle machine: test_stops.py
    if number is signal.SIGTERM and not group and run.returncode == 128 + number:
        assert err.splitlines()[-1].startswith("stopped by SIGTERM; "), err
    assert "Traceback" not in err, err
    return out, err


def moment(folder: Path, run: "subprocess.Popen[str]", chance: random.Random, most: int, pause: float) -> str:
    """Wait until a random number of steps has ended, up to `most`, and a random time longer; says which moment it is.

    -1 steps: while the libraries are imported and the server starts.
    """
    before, after, longer = records(folder), chance.randrange(-1, most + 1), chance.uniform(0, pause)
    end = time.monotonic() + PATIENCE
    while after >= 0 and run.poll() is None and len(changed(before, records(folder))) < after:
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)
    time.sleep(longer * (3 if after < 0 else 1))
    return f"{longer:.2f} s after {after} steps"


def changed(before: dict[str, bytes], after: dict[str, bytes]) -> dict[str, bytes]:
    """The records that are not as they were."""
    return {name: content for name, content in after.items() if before.get(name) != content}


def nobody_is_left(folder: Path, seconds: float = 120) -> None:
    """No process works in the project or was started for it."""
    wait_for(lambda: not processes(str(folder)), seconds)


def nothing_is_half_written(folder: Path) -> None:
    """No file that is being written lies among outputs and state, and every record is true."""
    places = [folder / name for name in ("outputs", ".tverase", "mlartifacts") if (folder / name).exists()]
    left = [path for place in places for pattern in HALF for path in place.rglob(pattern)]
    assert left == []
    assert not [path for path in (folder / ".tverase" / "scratch").glob("*") if any(path.iterdir())]
    assert [name for name in records(folder) if not whole(folder, name)] == []


def versions(folder: Path, where: str = "") -> list[Any]:
    """The registered versions; each is whole, of a run that has ended, and no content is there twice."""
    import mlflow

    uri = where or f"sqlite:///{folder}/mlflow.db"
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    found = [one for one in client.search_model_versions() if "damaged" not in one.tags]
    contents = [(one.name, one.tags["content_hash"]) for one in found]
    assert len(set(contents)) == len(contents), "a version is there twice"
    for one in found:
        assert client.get_run(one.run_id).info.status == "FINISHED"
        location = Path(client.get_logged_model(str(one.source).removeprefix("models:/")).artifact_location)
        names = {path.name for path in location.rglob("*")} if where == "" else {"MLmodel", "model_index.json"}
        assert {"MLmodel", "model_index.json"} <= names
    return found


def answer(out: str) -> dict[str, Any]:
    """The JSON that a run prints."""
    said: dict[str, Any] = json.loads(out)
    return said


def said_once(text: str, says: str) -> None:
    """One error on stderr, in the last line, with these words."""
    assert [line for line in text.splitlines() if line.startswith("error: ")] == text.splitlines()[-1:], text
    assert says in text.splitlines()[-1]
