"""The table that compares erasers: rows x attacks x concepts x seeds, each cell a task. `tverase bench` runs it.

The key of a task is that of its content (tasks/_bench.py). A part whose files are whole for its key is not run again, so
that a flow that was killed goes on where it was.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from prefect import flow, get_run_logger, task
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from tasks._bench import Keyed, Keys, execute, fail, finished
from tasks._bench_publish import publish_table, record_table
from tasks._locks import STATE, locked
from tasks._prefect import ContentPolicy, States, effect
from tasks._tracking import check_tracking
from tverase.bars import lines, show
from tverase.bench.page import PAGE, write_all
from tverase.bench.plan import Plan, Work
from tverase.bench.table import build
from tverase.bench.words import headline
from tverase.concepts import slug
from tverase.errors import StorageError
from tverase.progress import Progress, Tell

from ._ray import require_ray

Runner = Literal["threads", "ray"]


@task(
    name="bench",
    task_run_name="{name}",
    cache_policy=ContentPolicy(),
    persist_result=True,
    result_serializer="json",
    refresh_cache=True,  # it is called only if its files are not whole
)
def part(step_name: str, run_name: str, key: str, name: str, work: dict[str, Any], about: list[Any], home: str) -> str:
    """One part, in this process or in a worker's, which goes to the same folder; its state."""
    if Path.cwd() != Path(home):
        os.chdir(home)
    return str(execute(Work.of(work), *about)["state"])


def run(
    plan: Plan, runner: Runner = "threads", workers: int = 0, address: str = "", gpus: float = 0, *, retry: bool = False
) -> dict[str, Any]:
    """Fill a table, with threads of this process or on Ray; what came out."""
    check_tracking()  # what cannot be recorded is found out before the work
    chosen: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=workers or os.cpu_count() or 1)
    if runner == "ray":
        chosen = require_ray(address, workers, gpus)
    with locked(STATE / f"bench-{slug(str(plan.out))}.lock", f"the table in {plan.out}"):
        flow_ = benchmark.with_options(task_runner=chosen)
        answer: Any = flow_(plan.model_dump(mode="json"), gpus, retry=retry)
    return dict(answer)  # whatever the state is called


def run_name() -> str:
    """`bench-bomb`."""
    given = (flow_run.parameters or {}).get("plan", {})
    return f"bench-{'-'.join(dict.fromkeys(slug(case['concept']) for case in given.get('cases', [])))}"


@flow(name="benchmark", flow_run_name=run_name)
def benchmark(plan: dict[str, Any], gpus: float = 0, *, retry: bool = False) -> dict[str, Any] | State[Any]:
    """Fill a table and publish it. With cells that failed the run is Completed, and its state is called Partial.

    Args:
        plan: A `tverase.bench.plan.Plan` as JSON: concepts, seeds, rows, attacks, budget and the folder of the table.
        gpus: GPUs of a part, on Ray.
        retry: Run again what failed before.
    """
    whole, counts = Plan.model_validate(plan), dict.fromkeys(("run", "reused"), 0)
    with show("bench") as tell:
        log = lines("bench", get_run_logger().info)

        def both(progress: Progress) -> None:
            tell(progress)
            log(progress)

        for stage in whole.stages():
            ran, all_ = _stage(stage, both, gpus, retry=retry)
            counts = {"run": counts["run"] + ran, "reused": counts["reused"] + all_ - ran}
    return _finish(whole, counts, {})


def _stage(stage: list[Work], tell: Tell, gpus: float, *, retry: bool) -> tuple[int, int]:
    """The parts of a stage that are not finished, side by side; how many were run, of how many."""
    keys = Keys()
    keyed = [keys.of(work) for work in stage]
    todo = [one for one in keyed if finished(one, retry=retry) is None]
    with _with_gpus(gpus):
        futures = [(one, part.submit(**_parameters(one))) for one in todo]
        for done, (one, future) in enumerate(futures):
            before = len(stage) - len(todo)
            tell(Progress(f"filling the table: {one.work.stage}", before + done, len(stage), one.work.name))
            found = future.result(raise_on_failure=False)
            if isinstance(found, StorageError):
                raise found
            if isinstance(found, BaseException):  # the worker itself is gone
                fail(one, found)
    return len(todo), len(stage)


def _parameters(one: Keyed) -> dict[str, Any]:
    about = [one.key, one.code, one.hashes]
    named = {"step_name": "bench", "run_name": slug(one.work.name), "key": one.key, "name": one.work.name}
    return {**named, "work": one.work.as_dict(), "about": about, "home": str(Path.cwd())}


@contextmanager
def _with_gpus(gpus: float) -> Iterator[None]:
    """So many GPUs for each task that is submitted, on Ray."""
    if not gpus:
        yield
        return
    from prefect_ray.context import remote_options

    with remote_options(num_gpus=gpus):
        yield


def _finish(plan: Plan, counts: dict[str, int], states: States) -> dict[str, Any] | State[Any]:
    """The table's files, its MLflow run and its Prefect artefacts."""
    table = build(plan)
    files = write_all(table, plan.out)
    links = {"prefect.flow_run_id": str(flow_run.get_id() or "")}
    run_id, url = effect("record", lambda: record_table(table, files, links, "tverase-bench"), states)
    effect("publish", lambda: publish_table(table, files[PAGE], url), states, retries=())
    cells = [cell["state"] for cell in table["cells"]]
    number = {state: cells.count(state) for state in ("done", "failed", "refused")}
    answer = {"ahead": headline(table), "page": str(files[PAGE]), "run": run_id, "parts": counts, "cells": number}
    if number["failed"]:
        return Completed(name="Partial", message=f"{number['failed']} cells failed; the page says why.", data=answer)
    return answer
