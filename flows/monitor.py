"""Watch the champion: every night new noise, new prompts and new attacks, and a test over all nights together."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks import _watched as pages
from tasks._locks import STATE, locked
from tasks._main import quiet, require_possible, set_threads
from tasks._prefect import States, effect
from tasks._secrets import guard_logs
from tasks._tracking import check_tracking
from tasks.monitor import Watched, fall_back, watch
from tverase.bars import lines
from tverase.config import Params
from tverase.errors import NotProved

from ._again import go_on
from ._form import Concepts, Device, Override, named, params_of
from ._limits import limited


@flow(name="monitor", flow_run_name=named("monitor"), validate_parameters=True, on_crashed=[go_on])
def monitor(
    concepts: Concepts | None = None,
    device: Device | None = None,
    overrides: list[Override] = [],  # noqa: B006 - Prefect's form shows the default, and nothing changes it
    params_file: str = "params.yaml",
) -> dict[str, Any] | State[Any]:
    """Draw a night of the champion and say whether all nights together are evidence against it.

    The run is Completed, and its state is named Sound, Alarm, Blind (the base model drew nothing), or Unwatched (no champion).

    Args:
        concepts: Whose champion is watched: the concepts of its erasure, together.
        device: Where it is computed: cpu, cuda, cuda:1 or mps.
        overrides: More parameters, each as KEY=VALUE, as in monitor.images=200.
        params_file: The file of parameters that the fields above change.
    """
    form = locals()
    quiet()
    guard_logs()
    params = params_of(form)
    require_possible(params)
    set_threads(params)
    check_tracking()
    log = get_run_logger()
    with (
        limited(params, writes=False),
        locked(STATE / f"monitor-{params.name}.lock", f"the monitor of {params.name}", log.info),
    ):
        return _night(params)


def _night(params: Params) -> State[Any]:
    """The night, its page, its event and what the policy asks for, each a task."""
    states: States = {}
    tell = lines("monitor", get_run_logger().info)
    watched = effect("night", lambda: watch(params, tell), states, 3600 * params.runtime.step_hours)
    if watched is None:
        why = f"{params.name} has no {params.review.alias} yet; `tverase review promote` makes one."
        return Completed(name="Unwatched", message=why, data={"outcome": "unwatched", "why": why})
    more = ""
    if watched.finding.outcome == "alarm" and params.monitor.fall_back:
        more = effect("fall back", lambda: fall_back(watched, params), states)
    effect("publish", lambda: pages.publish(watched, more), states, retries=())
    effect("event", lambda: pages.tell_automations(watched), states, retries=())
    return _answer(watched, more)


def _answer(watched: Watched, more: str) -> State[Any]:
    outcome, why = watched.finding.outcome, watched.finding.sentence
    get_run_logger().log(20 if outcome == "sound" else 40, f"{watched.version}: {why} {more}".rstrip())
    data = {**watched.as_dict(), "fell_back": more}
    return Completed(name=outcome.capitalize(), message=f"{why} {more}".rstrip(), data=data)


def require_sound(result: dict[str, Any]) -> None:
    """Nothing if the champion is sound or there is none; otherwise an error that says what the nights say."""
    if result["outcome"] in ("alarm", "blind"):
        raise NotProved(f"{result['version']}: {result['why']}")


if __name__ == "__main__":
    from tasks._quiet import plainly

    with plainly():
        found: Any = monitor()
        require_sound(found)
