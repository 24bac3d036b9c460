"""Erase a concept: the paper's method, step by step. Scheduled by prefect.yaml, run by `tverase run`."""

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from tasks import _all as steps
from tasks._dvc import commit_if_params_are_in_git
from tasks._main import quiet, set_threads
from tasks._prefect import brief, run_steps
from tasks._publish import publish
from tasks._report import write
from tasks.register import register
from tverase.config import Params


@flow(name="erase", flow_run_name="erase-{params.name}", validate_parameters=True)
def erase_concept(params: Params, force: tuple[str, ...] = (), start: str | None = None) -> dict[str, Any]:
    """Images -> fine-tuned weights -> tau -> inversions -> which weights -> alpha -> erased pipeline -> proof -> registry.

    force: steps to run again although nothing changed; start: the first step to run, those before it are believed.
    """
    quiet()
    steps.require_steps([*force, *([start] if start is not None else [])])
    set_threads(params)
    records = run_steps(steps.chosen(params, start), params, force)
    report = write(params)
    commit_if_params_are_in_git(params, records)
    registration = register(params, {"prefect.flow_run_id": str(flow_run.get_id() or "")})
    publish(params, records, registration, report)
    return {
        "steps": brief(records),
        "report": str(report),
        "erased": str(params.out / "erased"),
        "model": registration.uri,
        "version": registration.version,
    }


if __name__ == "__main__":
    erase_concept(Params.load(Path("params.yaml")))
