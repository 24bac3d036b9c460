"""Erase a concept: the paper's method, step by step. Scheduled by prefect.yaml, run by `tverase run`."""

import sys
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from tasks import _all as steps
from tasks import _infeasible
from tasks._dvc import STAGES, commit_if_params_are_in_git
from tasks._main import quiet, require_possible, set_threads
from tasks._prefect import brief, run_steps
from tasks._publish import publish, publish_infeasible
from tasks._record import Record
from tasks._secrets import guard_logs
from tasks._step import Step
from tasks._tracking import check_tracking
from tasks.register import register
from tasks.report import last_verdict, write
from tverase.config import Params
from tverase.errors import TveraseError
from tverase.report.verdict import Verdict


@flow(name="erase", flow_run_name="erase-{params.name}", validate_parameters=True)
def erase_concept(
    params: Params, force: tuple[str, ...] = (), start: str | None = None, *, strict: bool = False
) -> dict[str, Any] | State[Any]:
    """Images -> fine-tuned weights -> tau -> inversions -> which weights -> alpha -> erased pipeline -> proof -> registry.

    force: steps to run again although nothing changed; start: the first step to run, those before it are believed;
    strict: a result of other versions of torch, diffusers or transformers is made again.
    The run is Completed; where the erasure is not proved the state has the verdict's name (Refuted, Unconfirmed, Untested,
    Infeasible). The answer is a dictionary in every case.
    """
    quiet()
    guard_logs()
    steps.require_steps([*force, *([start] if start is not None else [])])
    require_possible(params)
    set_threads(params)
    check_tracking()  # what cannot be recorded is found out before the work
    search, proof = _halves(steps.chosen(params, start))
    steps.require_believable(params, start)
    records = run_steps(search, params, force, strict=strict)
    if proof and proof[0].name == "erase" and _infeasible.why(params):
        return _give_up(params, records)
    records |= run_steps(proof, params, force, strict=strict)
    report = write(params)
    _tell_dvc(params, records)
    answer = last_verdict(params)
    registration = register(params, _links(), records)
    publish(params, records, registration, report, answer)
    result = {
        "steps": brief(records),
        "report": str(report),
        "erased": str(params.out / "erased"),
        "model": registration.uri,
        "version": registration.version,
        "verdict": _brief(answer),
    }
    return result if answer.proved else Completed(name=answer.outcome.capitalize(), message=answer.why, data=result)


def _give_up(params: Params, records: dict[str, Record]) -> State[Any]:
    """The search found no strength: a result that is reported and recorded, without a model."""
    known = {
        step.name: record for step in steps.chosen(params) if (record := step.last(params)) and step.name in SEARCH
    }
    answer, report = _infeasible.conclude(params, known)
    commit_if_params_are_in_git(params, records, [name for name in STAGES if name in SEARCH])
    run = _infeasible.record_run(params, answer, known, _links())
    publish_infeasible(params, records, report, answer)
    result = {"steps": brief(records), "report": str(report), "run": run, "verdict": _brief(answer)}
    return Completed(name="Infeasible", message=answer.why, data=result)


def _tell_dvc(params: Params, records: dict[str, Record]) -> None:
    """A commit that DVC refuses costs the lock file, and not the registration."""
    try:
        commit_if_params_are_in_git(params, records)
    except TveraseError as error:
        sys.stderr.write(f"warning: {error}\n")


SEARCH = tuple(step.name for step in steps.STEPS[: [step.name for step in steps.STEPS].index("erase")])


def _halves(todo: list[Step]) -> tuple[list[Step], list[Step]]:
    """The steps up to the search, and those that need the strength that it found."""
    return [step for step in todo if step.name in SEARCH], [step for step in todo if step.name not in SEARCH]


def _links() -> dict[str, str]:
    return {"prefect.flow_run_id": str(flow_run.get_id() or "")}


def _brief(answer: Verdict) -> dict[str, str]:
    return {"outcome": answer.outcome, "title": answer.title, "why": answer.why}


if __name__ == "__main__":
    from tasks._quiet import plainly

    from ._run import require_proved

    with plainly():
        require_proved(erase_concept(Params.load(Path("params.yaml")), return_state=False))
