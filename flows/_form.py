"""What a run of the flow is given: the fields of Prefect's form, and the parameters that they make."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from prefect.runtime import flow_run
from pydantic import Field

from tasks import _all as steps
from tverase.config import Params
from tverase.errors import TveraseError

Concepts = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
Recipe = Literal["robust", "paper"]
Effort = Literal["quick", "standard", "thorough"]
Share = Annotated[float, Field(ge=0, le=1)]
Strength = Annotated[float, Field(ge=0)]
Device = Annotated[str, Field(pattern=r"^(cpu|mps|cuda(:\d+)?)$")]
Override = Annotated[str, Field(pattern="^[^=]+=")]
StepName = Literal[tuple(step.name for step in steps.STEPS)]  # type: ignore[valid-type]

SEARCH = tuple(step.name for step in steps.STEPS[: [step.name for step in steps.STEPS].index("erase")])
KEYS = {
    "epsilon": f"{SEARCH[-1]}.epsilon",
    "delta": f"{SEARCH[-1]}.delta",
    "alpha": "erase.alpha",
    "device": "runtime.device",
}


def params_of(form: Mapping[str, Any]) -> Params:
    """The parameters of the form's file, changed by the fields that are filled in, and last by `overrides`."""
    fields = ("concepts", "model", "recipe", "effort", "seed", "epsilon", "delta", "alpha", "device")
    given = [f"{KEYS.get(field, field)}={json.dumps(form[field])}" for field in fields if form.get(field) is not None]
    if form.get("judge"):
        given.append(f"judge={form['judge']}")
    return Params.load(Path(form.get("params_file") or "params.yaml"), [*given, *(form.get("overrides") or ())])


def named(flow: str) -> Callable[[], str]:
    """The name of a flow's runs: `erase-bomb`, or `erase` where the concepts cannot be read, which the run itself then says."""

    def run_name() -> str:
        try:
            return f"{flow}-{params_of(flow_run.parameters or {}).name}"
        except TveraseError:
            return flow

    return run_name
