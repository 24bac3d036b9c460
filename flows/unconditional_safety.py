"""Unconditional safety, where every input can be tried: the digit experiment of Pham et al. (2024), section 3."""

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from tasks import _all as steps
from tasks._digit_report import register_run, write
from tasks._dvc import DIGIT_STAGES, commit_if_params_are_in_git
from tasks._main import quiet, set_threads
from tasks._prefect import brief, run_steps
from tasks._publish import publish_digits
from tasks._secrets import guard_logs
from tasks._tracking import check_tracking
from tverase.config import Params


@flow(name="unconditional-safety", flow_run_name="digit-{params.digits.digit}", validate_parameters=True)
def unconditional_safety(params: Params, force: tuple[str, ...] = ()) -> dict[str, Any]:
    """Digit model -> vectors of four methods -> the strength that Diverse Inversion picks -> the worst input of each."""
    quiet()
    guard_logs()
    check_tracking()  # what cannot be recorded is found out before the work
    steps.require_steps(force, steps.DIGIT_STEPS)
    set_threads(params)
    records = run_steps(steps.digit_steps(params), params, force)
    report = write(params)
    commit_if_params_are_in_git(params, records, DIGIT_STAGES)
    run = register_run(params, {"prefect.flow_run_id": str(flow_run.get_id() or "")})
    publish_digits(params, records, report)
    return {"steps": brief(records), "report": str(report), "run": run}


if __name__ == "__main__":
    unconditional_safety(Params.load(Path("params.yaml")))
