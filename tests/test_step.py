"""A step: when it runs, when it does not, and what is left when it is killed. The cases of caching by content."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from toy_step import CODE, PARAMS, STEP, prepare, write

from tasks._job import Job
from tasks._locks import STATE
from tasks._prefect import run_step
from tasks._record import Record
from tasks._step import Step
from tverase.config import Params
from tverase.errors import DataError
from tverase.progress import silent

Runner = Callable[[Step, Params], Record]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return prepare(tmp_path, monkeypatch)


@pytest.fixture
def params() -> Params:
    return PARAMS


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


def test_content_that_comes_back_is_not_made_again(place: Path, params: Params, run: Runner) -> None:
    for text, reused in (("a", False), ("b", False), ("a", True), ("b", True)):
        (place / "given.txt").write_text(text)
        assert run(STEP, params).reused == reused
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
