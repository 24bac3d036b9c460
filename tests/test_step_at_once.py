"""A step beside others: the same files are not made twice at once, and a kill leaves nothing half-written."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from toy_step import PARAMS, STEP, prepare, write

from tasks._job import Job
from tasks._locks import locked, run_lock
from tasks._record import Record
from tasks._step import Step
from tverase.config import Params
from tverase.files import ASIDE


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return prepare(tmp_path, monkeypatch)


@pytest.fixture
def params() -> Params:
    return PARAMS


def beside(
    step: Step, params: Params, other: Params, patience: float, second: Step | None = None
) -> tuple[bool, Record, Record]:
    """Run `step` and, from inside it, the same (or `second`) for `other`: whether that had to wait, and both records."""
    records: list[Record] = []
    thread = threading.Thread(target=lambda: records.append((second or step).execute(other)))
    waited = []

    def run(job: Job) -> None:
        thread.start()
        thread.join(patience)
        waited.append(thread.is_alive())
        write(job)

    run.__module__ = write.__module__  # the same source, as of one step
    done = replace(step, run=run).execute(params)
    thread.join()
    return waited[0], done, records[0]


@pytest.mark.parametrize(("shipped", "concept"), [(None, "bomb"), (Path("records/toy.json"), "skull")])
def test_the_same_files_are_not_made_twice_at_once(
    place: Path, params: Params, shipped: Path | None, concept: str
) -> None:
    other = Params.parse({"finetune": {"steps": 5}, "concepts": [concept]})
    step = replace(STEP, shipped=shipped, outputs=lambda _: {"made": Path("made.txt"), "folder": Path("folder")})
    waited, first, second = beside(step, params, other, patience=0.5)
    assert waited
    assert (first.reused, second.reused) == (False, True)


def test_two_steps_of_one_run_do_not_mix_their_parameters(place: Path, params: Params) -> None:
    """The second run waits for the step of the first one, also at another step."""
    other = replace(STEP, name="other", outputs=lambda p: {"made": p.out / "x", "folder": p.out / "y"})
    waited, *_ = beside(STEP, params, Params.parse({"finetune": {"steps": 6}}), patience=0.5, second=other)
    assert waited


def test_a_whole_run_is_locked_and_who_waits_is_told(place: Path, params: Params) -> None:
    said, after = [], []
    path = run_lock(params.name)

    def second() -> None:
        with locked(path, "erase of outputs/bomb", said.append):
            after.append("the second run")

    thread = threading.Thread(target=second)
    with locked(path, "erase of outputs/bomb"):
        thread.start()
        thread.join(0.5)
        STEP.execute(params)  # the run's own step does not wait for the run
        after.append("the first run")
    thread.join()
    assert after == ["the first run", "the second run"]
    assert len(said) == 1
    assert said[0].startswith(f"erase of outputs/bomb: waiting for process {os.getpid()}, which runs erase of outputs/")


def test_runs_of_two_concepts_do_not_wait_for_each_other(place: Path, params: Params) -> None:
    waited, *_ = beside(STEP, params, Params.parse({"finetune": {"steps": 5}, "concepts": ["skull"]}), patience=60)
    assert not waited


KILLED = """
import os, signal, sys
from dataclasses import replace
sys.path[:0] = [{tests!r}, {root!r}]
from toy_step import STEP, write
from tverase.config import Params

def die(job):
    write(job)
    (job.scratch / "checkpoint").write_text("kept")
    os.kill(os.getpid(), signal.SIGKILL)

die.__module__ = write.__module__  # a step's function is in a module that can be read
replace(STEP, run=die).execute(Params.parse({{"finetune": {{"steps": 5}}}}))
"""


def test_kill_9_loses_nothing_finished_and_leaves_nothing_half_written(place: Path, params: Params) -> None:
    STEP.execute(params)
    (place / "given.txt").write_text("b")
    here = Path(__file__).parent
    script = KILLED.format(tests=str(here), root=str(here.parent))
    killed = subprocess.run([sys.executable, "-c", script], cwd=place, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (params.out / "made.txt").read_text() == "a5"  # whole, from before
    assert not STEP.current(params)  # and not believed to be of now
    assert not STEP.execute(params).reused  # the lock went with the process
    assert (params.out / "made.txt").read_text() == "b5"
    assert not list(params.out.rglob(f"*{ASIDE}"))
