"""Unconditional safety, where every input can be tried: the digit experiment of Pham et al. (2024), section 3."""

from pathlib import Path
from typing import Any

from prefect import flow

from tasks import _all as steps
from tasks._digits import out
from tasks._main import quiet, set_threads
from tasks._prefect import brief, run_steps
from tverase.config import Params


@flow(name="unconditional-safety", flow_run_name="digit-{params.digits.digit}", validate_parameters=True)
def unconditional_safety(params: Params, force: tuple[str, ...] = ()) -> dict[str, Any]:
    """Digit model -> vectors of four methods -> the strength that Diverse Inversion picks -> the worst input of each."""
    quiet()
    set_threads(params)
    records = run_steps(steps.DIGIT_STEPS, params, force)
    return {"steps": brief(records), "verdicts": str(out(params) / "verdicts.json")}


if __name__ == "__main__":
    unconditional_safety(Params.load(Path("params.yaml")))
