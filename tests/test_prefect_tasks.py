"""What Prefect shows of a run: which task read what, how far a step is, what is tried again, and what takes too long."""

import errno
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from toy_step import PARAMS, STEP, prepare, write

from tasks import _prefect, finetune, make_images
from tasks._all import STEPS, makers, require_unmixed
from tasks._job import Job
from tasks._prefect import States, effect, heals, run_step
from tasks._publish import publish_infeasible
from tasks._step import Step
from tverase import bars
from tverase.config import Params
from tverase.errors import ConfigError, DataError, NetworkError, StorageError, TrackingError, TveraseError
from tverase.files import digest_of
from tverase.progress import Progress, silent
from tverase.report.verdict import Verdict

pytestmark = pytest.mark.usefixtures("prefect_server", "place")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return prepare(tmp_path, monkeypatch)


def called(run: Callable[[], Any]) -> Any:
    """`run` in a flow of its own; the runs of its tasks by name, as the server has them, and what it answers."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.runtime import flow_run

    ids: list[Any] = []

    @flow
    def once() -> Any:
        ids.append(flow_run.id)
        return run()

    answer = once()
    with get_client(sync_client=True) as client:
        for _ in range(50):  # the server learns of them by events
            found = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[ids[0]])))
            if found and all(task.state and task.state.is_final() for task in found):
                break
            time.sleep(0.2)
    return {task.name.partition("-")[0]: task for task in found}, answer


def step_of(run: Callable[[Job], None], **changes: Any) -> Step:
    """The toy step with another function, which counts as the same source."""
    run.__module__ = write.__module__
    return replace(STEP, run=run, **changes)


def test_a_task_has_an_edge_from_each_that_made_what_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    after = replace(
        STEP,
        name="after",
        inputs=lambda p: {"given": p.out / "folder" / "part"},
        outputs=lambda p: {"made": p.out / "x", "folder": p.out / "y"},
    )
    monkeypatch.setattr(_prefect, "makers", lambda step, _: [STEP] if step is after else [])

    def run() -> None:
        states: States = {}
        for step in (STEP, after):
            run_step(step, PARAMS, silent, states=states)
        effect("tell", lambda: None, states)

    tasks, _ = called(run)

    def reads(name: str) -> set[str]:
        return {str(one.id) for ones in tasks[name].task_inputs.values() for one in ones}

    ids = {name: str(task.id) for name, task in tasks.items()}
    assert reads("toy") == set()
    assert reads("after") == {ids["toy"]}
    assert reads("tell") == {ids["toy"], ids["after"]}


def test_who_reads_what() -> None:
    found = {step.name: {maker.name for maker in makers(step, PARAMS)} for step in STEPS}
    assert found["finetune"] >= {"make_images", "pretrain"}
    assert "finetune" not in found["invert"]
    assert found["report"] >= {"make_images", "evaluate"}


def test_a_step_does_not_read_what_another_run_has_left() -> None:
    made = replace(STEP.execute(PARAMS), step="make_images", params=make_images.STEP.values(PARAMS))
    made = replace(made, key=digest_of([made.step, made.code, made.params, made.inputs]))
    made.write(make_images.STEP.record_path(PARAMS))
    require_unmixed(finetune.STEP, PARAMS)
    with pytest.raises(
        ConfigError, match="finetune reads what make_images made with other parameters; run make_images"
    ):
        require_unmixed(finetune.STEP, Params.parse({"seed": 1}))


def test_progress_is_in_the_log_of_the_task(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(bars, "PLAIN_EVERY", 0.0)

    def run(job: Job) -> None:
        job.tell(Progress("rounds", 3, 8, "loss 0.5"))
        write(job)

    with caplog.at_level("INFO", "prefect.task_runs"):
        called(lambda: run_step(step_of(run), PARAMS, silent))
    assert "toy: rounds 3/8 loss 0.5" in [record.getMessage() for record in caplog.records]


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (NetworkError("no route"), True),
        (ConnectionResetError(), True),
        (OSError(errno.ESTALE, "stale handle"), True),
        (raised(StorageError("S3 does not answer"), TimeoutError()), True),
        (raised(TrackingError("MLflow does not answer"), ConnectionRefusedError()), True),
        (raised(StorageError("no space"), OSError(errno.ENOSPC, "no space")), False),
        (raised(StorageError("no right"), PermissionError(errno.EACCES, "no right")), False),
        (TrackingError("refused"), False),
        (DataError("missing"), False),
        (ValueError("a fault of ours"), False),
    ],
)
def test_only_what_may_heal_is_tried_again(error: Exception, again: bool) -> None:
    from prefect.states import Failed

    assert heals(STEP, None, Failed(data=error)) == again


@pytest.mark.parametrize(("error", "tries"), [(NetworkError("the hub is away"), 3), (DataError("it is missing"), 1)])
def test_a_step_that_fails_by_the_network_goes_on_later(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: TveraseError, tries: int
) -> None:
    monkeypatch.setattr(_prefect, "RETRIES", [0.0, 0.0, 0.0])
    tried = []

    def run(job: Job) -> None:
        tried.append(job.scratch.name)
        if len(tried) < 3:
            raise error
        write(job)

    if tries == 3:
        _, record = called(lambda: run_step(step_of(run), PARAMS, silent))
        assert not record.reused
        assert capsys.readouterr().err.count("toy: the hub is away It is tried again") == 2
    else:
        with pytest.raises(DataError, match="it is missing"):
            called(lambda: run_step(step_of(run), PARAMS, silent))
    assert len(tried) == tries


def test_a_step_that_takes_too_long_fails_in_one_sentence() -> None:
    def run(job: Job) -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            time.sleep(0.01)

    short = Params.parse({"finetune": {"steps": 5}, "runtime": {"step_hours": 0.5 / 3600}})
    with pytest.raises(TveraseError, match=r"toy takes longer than runtime.step_hours=0.000138"):
        called(lambda: run_step(step_of(run), short, silent))
    assert not STEP.current(short)


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:5000/#/experiments/1/runs/abc"])
def test_no_link_leads_to_a_file(url: str) -> None:
    from prefect.artifacts import Artifact

    said = Verdict("infeasible", "bomb not erased", "No strength meets both bounds.", ())
    publish_infeasible(PARAMS, {}, url, Path("outputs/bomb/report.html"), said)
    summary = Artifact.get("erase-bomb-summary")
    assert summary is not None
    text = json.dumps(summary.data)
    assert "file:" not in text
    assert (f"({url}/artifacts/report.html)" if url else str(Path("outputs/bomb/report.html").resolve())) in text
