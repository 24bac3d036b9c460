"""Erase a concept: the paper's method, step by step. Scheduled by prefect.yaml, run by `tverase run`."""

import sys
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from tasks import _all as steps
from tasks import _infeasible
from tasks._dvc import STAGES, commit_if_params_are_in_git
from tasks._locks import locked, on_stderr, run_lock
from tasks._main import quiet, require_possible, set_threads
from tasks._prefect import States, brief, effect, run_steps
from tasks._publish import publish, publish_infeasible
from tasks._record import Record
from tasks._secrets import guard_logs
from tasks._step import Step
from tasks._tracking import check_tracking
from tasks.register import register
from tasks.report import STEP as REPORT
from tasks.report import last_verdict
from tverase.config import Params
from tverase.errors import TveraseError
from tverase.report.verdict import Verdict

from ._again import go_on
from ._form import SEARCH, Concepts, Device, Effort, Override, Recipe, Share, StepName, Strength, named, params_of
from ._limits import limited


@flow(name="erase", flow_run_name=named("erase"), validate_parameters=True, on_crashed=[go_on])
def erase_concept(
    concepts: Concepts | None = None,
    model: str | None = None,
    judge: str | None = None,
    recipe: Recipe | None = None,
    effort: Effort | None = None,
    seed: int | None = None,
    epsilon: Share | None = None,
    delta: Share | None = None,
    alpha: Strength | None = None,
    device: Device | None = None,
    overrides: list[Override] = [],  # noqa: B006 - Prefect's form shows the default, and nothing changes it
    params_file: str = "params.yaml",
    start: StepName | None = None,
    force: list[StepName] = [],  # noqa: B006
    *,
    strict: bool = False,
) -> dict[str, Any] | State[Any]:
    """Erase concepts from a model, test the result, and register it. A field that is left empty is as in the parameters' file.

    The run is Completed; where the erasure is not proved the state has the verdict's name (Refuted, Unconfirmed, Untested,
    Infeasible). The answer is a dictionary in every case.

    Args:
        concepts: What to erase, together: names of `tverase list concepts`, concept files, or any other names.
        model: A diffusers folder of safetensors, or a hub id.
        judge: A kind of `tverase list judges`, or its settings as JSON; otherwise the one that the concept names.
        recipe: robust hardens the edit against attacks; paper is the method of the paper alone.
        effort: How much is drawn and searched; thorough takes several times as long as quick.
        seed: The only source of randomness.
        epsilon: The highest share of images in which any input may still draw the concept, upper bound.
        delta: The highest retain loss, as a share.
        alpha: A strength that overrules the one that is searched for.
        device: Where it is computed: cpu, cuda, cuda:1 or mps.
        overrides: More parameters, each as KEY=VALUE, as in finetune.steps=100.
        params_file: The file of parameters that the fields above change.
        start: The first step to run; the results of earlier ones are believed.
        force: Steps to run again although nothing changed.
        strict: Run again what other versions of torch, diffusers or transformers made.
    """
    form = locals()
    quiet()
    guard_logs()
    params = params_of(form)
    require_possible(params)
    set_threads(params)
    check_tracking()  # what cannot be recorded is found out before the work
    steps.require_believable(params, start)
    with limited(params), locked(run_lock(params.name), f"the erasure in {params.out}", _say):
        return _erase(params, steps.chosen(params, start), force, strict=strict)


def _say(text: str) -> None:
    on_stderr(text)
    get_run_logger().info(text)


def _erase(params: Params, todo: list[Step], force: list[str], *, strict: bool) -> dict[str, Any] | State[Any]:
    """The steps, and what follows from them, each a task."""
    states: States = {}
    search = [step for step in todo if step.name in SEARCH]
    proof = [step for step in todo if step.name not in SEARCH]
    records = run_steps(search, params, force, strict=strict, states=states)
    if proof and proof[0].name == "erase" and _infeasible.why(params):
        return _give_up(params, records, states)
    records |= run_steps(proof, params, force, strict=strict, states=states)
    answer, report = last_verdict(params), REPORT.outputs(params)["report"]
    effect("dvc commit", lambda: _tell_dvc(params, records), states)
    registration = effect("register", lambda: register(params, _links(), records), states)
    effect("publish", lambda: publish(params, records, registration, report, answer), states, retries=())
    result = {
        "steps": brief(records),
        "report": str(report),
        "erased": str(params.out / "erased"),
        "model": registration.uri,
        "version": registration.version,
        "verdict": _brief(answer),
    }
    return result if answer.proved else Completed(name=answer.outcome.capitalize(), message=answer.why, data=result)


def _give_up(params: Params, records: dict[str, Record], states: States) -> State[Any]:
    """The search found no strength: a result that is reported and recorded, without a model."""
    known = {
        step.name: record for step in steps.chosen(params) if (record := step.last(params)) and step.name in SEARCH
    }
    answer, report = effect("report", lambda: _infeasible.conclude(params, known), states)
    effect("dvc commit", lambda: _tell_dvc(params, records, [name for name in STAGES if name in SEARCH]), states)
    run, page = effect("record", lambda: _infeasible.record_run(params, answer, known, _links()), states)
    effect("publish", lambda: publish_infeasible(params, records, page, report, answer), states, retries=())
    result = {"steps": brief(records), "report": str(report), "run": run, "verdict": _brief(answer)}
    return Completed(name="Infeasible", message=answer.why, data=result)


def _tell_dvc(params: Params, records: dict[str, Record], stages: list[str] | None = None) -> None:
    """A commit that DVC refuses costs the lock file, and not the registration."""
    try:
        commit_if_params_are_in_git(params, records, stages or STAGES)
    except TveraseError as error:
        sys.stderr.write(f"warning: {error}\n")
        get_run_logger().warning(str(error))


def _links() -> dict[str, str]:
    return {"prefect.flow_run_id": str(flow_run.get_id() or "")}


def _brief(answer: Verdict) -> dict[str, str]:
    return {"outcome": answer.outcome, "title": answer.title, "why": answer.why}


if __name__ == "__main__":
    from tasks._quiet import plainly

    from ._outcome import require_proved

    with plainly():
        require_proved(erase_concept())
