"""A step: when it runs, when it does not, and what is left when it is killed. The cases of caching by content."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tasks._job import Job
from tasks._prefect import run_step
from tasks._record import Record
from tasks._step import STATE, Step
from tverase.config import Params
from tverase.errors import DataError
from tverase.files import ASIDE
from tverase.progress import silent

Runner = Callable[[Step, Params], Record]
CODE = "def version():\n    return 1\n"


def write(job: Job) -> None:
    """Copy the input, with a parameter behind it."""
    text = job.inputs["given"].read_text() + str(job.params.finetune.steps)
    job.outputs["made"].write_text(text)
    job.outputs["folder"].mkdir()
    (job.outputs["folder"] / "part").write_text(text)


STEP = Step(
    name="toy",
    sections=("finetune",),
    inputs=lambda _: {"given": Path("given.txt")},
    outputs=lambda params: {"made": params.out / "made.txt", "folder": params.out / "folder"},
    run=write,
    plugins=lambda _: ("toy_code",),
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with an input and with the module that is the step's code."""
    (tmp_path / "given.txt").write_text("a")
    (tmp_path / "toy_code.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def params() -> Params:
    return Params.parse({"finetune": {"steps": 5}})


def directly(step: Step, params: Params) -> Record:
    """As DVC calls it."""
    return step.execute(params)


def through_prefect(step: Step, params: Params) -> Record:
    """As the flow calls it."""
    from prefect import flow

    @flow
    def once() -> Record:
        return run_step(step, params, silent)

    record: Record = once()
    return record


def delete(place: Path, params: Params) -> None:
    (params.out / "made.txt").unlink()


def tamper(place: Path, params: Params) -> None:
    (params.out / "folder" / "part").write_text("something else")


def add_a_file(place: Path, params: Params) -> None:
    (params.out / "folder" / "more").write_text("")


def change_the_input(place: Path, params: Params) -> None:
    (place / "given.txt").write_text("b")


def change_the_code(place: Path, params: Params) -> None:
    (place / "toy_code.py").write_text(CODE.replace("1", "2"))


def touch(place: Path, params: Params) -> None:
    os.utime(place / "given.txt", (1, 1))
    os.utime(params.out / "made.txt", (1, 1))


def nothing(place: Path, params: Params) -> None:
    """Just again."""


CASES = [
    (nothing, True),
    (touch, True),
    (change_the_input, False),
    (change_the_code, False),
    (delete, False),
    (tamper, False),
    (add_a_file, False),
]


@pytest.fixture(params=[directly, through_prefect])
def run(request: pytest.FixtureRequest) -> Runner:
    """Both ways in which a step is called; they have to agree."""
    if request.param is through_prefect:
        request.getfixturevalue("prefect_server")
    runner: Runner = request.param
    return runner


@pytest.mark.parametrize(("change", "reused"), CASES)
def test_a_step_runs_again_exactly_when_it_has_to(
    place: Path, params: Params, run: Runner, change: Callable[[Path, Params], None], reused: bool
) -> None:
    assert not run(STEP, params).reused
    change(place, params)
    assert STEP.current(params) == reused
    assert run(STEP, params).reused == reused
    expected = (place / "given.txt").read_text() + "5"
    assert (params.out / "made.txt").read_text() == (params.out / "folder" / "part").read_text() == expected
    assert run(STEP, params).reused


def test_content_that_comes_back_is_made_again_and_right(place: Path, params: Params, run: Runner) -> None:
    for text in ("a", "b", "a"):
        (place / "given.txt").write_text(text)
        assert not run(STEP, params).reused
        assert (params.out / "made.txt").read_text() == f"{text}5"


def test_only_its_own_parameters_count(place: Path, params: Params) -> None:
    STEP.execute(params)
    assert STEP.execute(Params.parse({"finetune": {"steps": 5}, "invert": {"steps": 7}})).reused
    other = Params.parse({"finetune": {"steps": 6}})
    assert not STEP.execute(other).reused
    assert (params.out / "made.txt").read_text() == "a6"


def test_force_always_runs_again_and_strict_does_after_a_change_of_libraries(place: Path, params: Params) -> None:
    made = STEP.execute(params)
    assert not STEP.execute(params, force=True).reused
    assert STEP.execute(params, strict=True).reused
    replace(made, versions={**made.versions, "torch": "0.0.1"}).write(STEP.record_path(params))
    assert STEP.execute(params).reused, "another version is reported, and no reason to run again"
    assert not STEP.execute(params, strict=True).reused


def test_a_parameter_that_is_not_declared_cannot_be_read(place: Path, params: Params) -> None:
    def peek(job: Job) -> None:
        assert job.params.invert.steps

    with pytest.raises(AttributeError, match="does not declare the parameter 'invert'"):
        replace(STEP, run=peek).execute(params)


def test_another_step_with_the_same_content_is_another_step(place: Path, params: Params) -> None:
    STEP.execute(params)
    assert (
        not replace(STEP, name="other", outputs=lambda p: {"made": p.out / "x", "folder": p.out / "y"})
        .execute(params)
        .reused
    )


def test_a_failure_leaves_nothing_but_its_scratch(place: Path, params: Params) -> None:
    def fail(job: Job) -> None:
        write(job)
        (job.scratch / "checkpoint").write_text("half way")
        raise RuntimeError("the power failed")

    broken = replace(STEP, run=fail)
    with pytest.raises(RuntimeError, match="power"):
        broken.execute(params)
    assert not broken.record_path(params).exists()
    assert [path.name for path in params.out.rglob("*") if path.is_file()] == []

    def resume(job: Job) -> None:
        assert (job.scratch / "checkpoint").read_text() == "half way"
        write(job)

    assert not replace(STEP, run=resume).execute(params).reused
    assert not any((STATE / "scratch").iterdir())


def test_a_failure_keeps_the_last_good_output(place: Path, params: Params) -> None:
    STEP.execute(params)
    (place / "given.txt").write_text("b")

    def fail(job: Job) -> None:
        job.outputs["made"].write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        replace(STEP, run=fail).execute(params)
    assert (params.out / "made.txt").read_text() == "a5"
    assert not STEP.current(params)


def test_what_was_promised_has_to_be_written(place: Path, params: Params) -> None:
    with pytest.raises(DataError, match="did not write folder"):
        replace(STEP, run=lambda job: job.outputs["made"].write_text("") and None).execute(params)
    assert not (params.out / "made.txt").exists()


def test_a_missing_input_is_named(place: Path, params: Params) -> None:
    (place / "given.txt").unlink()
    with pytest.raises(DataError, match=r"toy needs given\.txt"):
        STEP.execute(params)
    assert not STEP.current(params)


def test_a_damaged_record_counts_as_none(place: Path, params: Params) -> None:
    STEP.execute(params)
    record = STEP.record_path(params)
    made = json.loads(record.read_text())
    for damage in (
        "{",
        "[]",
        "null",
        "[" * 100_000,
        json.dumps({**made, "outputs": {}}),
        json.dumps({**made, "key": 1}),
    ):
        record.write_text(damage)
        assert not STEP.execute(params).reused, damage[:40]
    assert STEP.execute(params).reused


def test_a_record_can_be_shipped(place: Path, params: Params) -> None:
    shipped = replace(STEP, shipped=Path("records/toy.json"))
    shipped.execute(params)
    assert Path("records/toy.json").exists()
    assert not (params.out / "records").exists()
    assert shipped.execute(params).reused


def beside(step: Step, params: Params, other: Params, patience: float) -> tuple[bool, Record, Record]:
    """Run `step` and, from inside it, the same for `other`: whether that had to wait, and both records."""
    records: list[Record] = []
    thread = threading.Thread(target=lambda: records.append(step.execute(other)))
    waited = []

    def run(job: Job) -> None:
        thread.start()
        thread.join(patience)
        waited.append(thread.is_alive())
        write(job)

    first = replace(step, run=run).execute(params)
    thread.join()
    return waited[0], first, records[0]


@pytest.mark.parametrize(("shipped", "concept"), [(None, "bomb"), (Path("records/toy.json"), "skull")])
def test_the_same_files_are_not_made_twice_at_once(
    place: Path, params: Params, shipped: Path | None, concept: str
) -> None:
    other = Params.parse({"finetune": {"steps": 5}, "concepts": [concept]})
    step = replace(STEP, shipped=shipped, outputs=lambda _: {"made": Path("made.txt"), "folder": Path("folder")})
    waited, first, second = beside(step, params, other, patience=0.5)
    assert waited
    assert (first.reused, second.reused) == (False, True)


def test_runs_of_two_concepts_do_not_wait_for_each_other(place: Path, params: Params) -> None:
    waited, *_ = beside(STEP, params, Params.parse({"finetune": {"steps": 5}, "concepts": ["skull"]}), patience=60)
    assert not waited


KILLED = """
import os, signal, sys
from dataclasses import replace
sys.path[:0] = [{tests!r}, {root!r}]
from test_step import STEP, write
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
