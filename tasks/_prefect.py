"""A step as a Prefect task that is cached by content, and whose cached result is checked before it is believed.

Prefect's own policies see paths, not contents. They would answer for a changed input and for a missing output
(PrefectHQ/prefect #17137, #7646). Here the key is the step's own, and a record whose outputs are not whole is refreshed.
"""

import errno
import json
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.client.schemas.objects import State
from prefect.task_engine import TaskRunTimeoutError

from tverase.bars import lines, show
from tverase.config import Params
from tverase.errors import NetworkError, TveraseError
from tverase.progress import Progress, Tell

from ._all import makers
from ._record import Record
from ._secrets import clean
from ._step import Step

# Of the tasks that ran, by name: where a later task reads what one has made is an edge of Prefect's graph.
States = MutableMapping[str, State[Any]]
T = TypeVar("T")
RETRIES = [5.0, 30.0, 120.0]  # seconds before each
EFFECT_SECONDS = 3600.0  # the longest that a task may take that is no step
# What a shared disk or a network refuses now it may grant in a minute; a full disk or a missing right stays.
PASSING = {errno.EAGAIN, errno.EBUSY, errno.EIO, errno.EREMOTEIO, errno.ESTALE, errno.ENOLCK, errno.ETIMEDOUT} | {
    errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET,
}  # fmt: skip
REMOTE = ("botocore", "urllib3", "requests", "httpx", "huggingface_hub")  # whose connection errors are not Python's own


class ContentPolicy(CachePolicy):
    """The key that the step has computed from its parameters, its code and the contents of its inputs."""

    def compute_key(self, task_ctx: Any, inputs: dict[str, Any], flow_parameters: dict[str, Any], **_: Any) -> str:
        """The name keeps two steps apart, the run's name keeps two runs' outputs apart, `text` is the form of the answer."""
        return f"{inputs['step_name']}-{inputs['run_name']}-{inputs['key']}-text"


def heals(task: Any, _: Any, state: State[Any]) -> bool:
    """Whether trying again may help: only if a network, a server or a shared disk did not answer."""
    first = state.result(raise_on_failure=False)
    error: Any = None if isinstance(first, TaskRunTimeoutError) else first  # more time may help, and not a second try
    while isinstance(error, BaseException):
        away = type(error).__module__.partition(".")[0] in REMOTE and "Connect" in type(error).__name__
        if away or isinstance(error, NetworkError | ConnectionError | TimeoutError):
            break
        if isinstance(error, OSError) and error.errno in PASSING:
            break
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)  # MLflow names no cause
    else:
        return False
    sys.stderr.write(f"{task.name}: {clean(str(first))} It is tried again if tries are left.\n")
    return True


def run_step(
    step: Step, params: Params, tell: Tell, *, force: bool = False, strict: bool = False, states: States | None = None
) -> Record:
    """The step through Prefect: cached, if its record is there and its outputs are whole."""
    states = {} if states is None else states
    key = step.key(params, step.input_hashes(params))
    # What Prefect may hold for this key is believed only if it is still true on the disk.
    believable = not force and step.reusable(params, key, strict=strict) is not None

    @task(
        name=step.name,
        task_run_name=f"{step.name}-{step.home(params)}",
        cache_policy=ContentPolicy(),
        persist_result=True,
        result_serializer="json",
        refresh_cache=not believable,
        retries=len(RETRIES),
        retry_delay_seconds=RETRIES,
        retry_condition_fn=heals,
        timeout_seconds=3600 * params.runtime.step_hours,
    )
    def run(step_name: str, run_name: str, key: str, inputs: list[Any]) -> str:
        log = lines(step.name, get_run_logger().info)

        def both(progress: Progress) -> None:
            tell(progress)
            log(progress)

        record = step.execute(params, both, force=force, strict=strict)
        return json.dumps(asdict(record))  # Prefect searches every mapping that it hands to a later task, and no text

    inputs = [states[maker.name] for maker in makers(step, params) if maker.name in states]
    state = run(step_name=step.name, run_name=step.home(params), key=key, inputs=inputs, return_state=True)
    if state.name == "TimedOut":
        limit = f"runtime.step_hours={params.runtime.step_hours:g}"
        raise TveraseError(
            f"{step.name} takes longer than {limit}; set a larger one and run again, what is finished is kept."
        )
    states[step.name], said = state, json.loads(state.result())
    return Record(**{**said, "reused": believable or said["reused"]})


def run_steps(
    steps: Iterable[Step], params: Params, force: Collection[str], *, strict: bool = False, states: States | None = None
) -> dict[str, Record]:
    """One after the other, each with its progress shown; `force` names steps to run although nothing changed."""
    records, states = {}, {} if states is None else states
    for step in steps:
        with show(step.name) as tell:
            records[step.name] = run_step(step, params, tell, force=step.name in force, strict=strict, states=states)
    return records


def effect(
    name: str,
    call: Callable[[], T],
    states: States,
    seconds: float = EFFECT_SECONDS,
    *,
    retries: Sequence[float] = RETRIES,
) -> T:
    """What a run does beside its steps, as a task of its own that reads all that ran; its answer is not kept.

    retries: seconds before each further try. Empty for what only asks Prefect's server: its client tries for a minute by itself.
    """

    @task(
        name=name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=len(retries),
        retry_delay_seconds=list(retries) or None,
        retry_condition_fn=heals,
        timeout_seconds=seconds,
    )
    def run(inputs: list[Any]) -> T:
        return call()

    state = run(inputs=list(states.values()), return_state=True)
    answer: T = state.result()
    states[name] = state
    return answer


def brief(records: Mapping[str, Record]) -> dict[str, dict[str, Any]]:
    """What a flow answers about its steps."""
    return {name: {"reused": record.reused, "seconds": record.seconds} for name, record in records.items()}
