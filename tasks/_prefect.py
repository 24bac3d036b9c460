"""A step as a Prefect task that is cached by content, and whose cached result is checked before it is believed.

Prefect's own policies see paths, not contents: they would answer for an input that has changed and for an output that
is gone (PrefectHQ/prefect #17137, #7646). Here the key is the step's own, and a record whose outputs are not whole is
refreshed.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from prefect import task
from prefect.cache_policies import CachePolicy

from tverase.bars import show
from tverase.config import Params
from tverase.progress import Tell

from ._record import Record
from ._step import Step


class ContentPolicy(CachePolicy):
    """The key that the step has computed from its parameters, its code and the contents of its inputs."""

    def compute_key(self, task_ctx: Any, inputs: dict[str, Any], flow_parameters: dict[str, Any], **_: Any) -> str:
        """The name keeps two steps apart, the run's name keeps two runs' outputs apart."""
        return f"{inputs['step_name']}-{inputs['run_name']}-{inputs['key']}"


def run_step(step: Step, params: Params, tell: Tell, *, force: bool = False, strict: bool = False) -> Record:
    """The step through Prefect: cached, if its record is there and its outputs are whole."""
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
    )
    def run(step_name: str, run_name: str, key: str) -> dict[str, Any]:
        return asdict(step.execute(params, tell, force=force, strict=strict))

    record = Record(**run(step_name=step.name, run_name=step.home(params), key=key))
    return Record(**{**asdict(record), "reused": believable or record.reused})


def run_steps(
    steps: Iterable[Step], params: Params, force: Collection[str], *, strict: bool = False
) -> dict[str, Record]:
    """One after the other, each with its progress shown; `force` names steps to run although nothing changed."""
    records = {}
    for step in steps:
        with show(step.name) as tell:
            records[step.name] = run_step(step, params, tell, force=step.name in force, strict=strict)
    return records


def brief(records: Mapping[str, Record]) -> dict[str, dict[str, Any]]:
    """What a flow answers about its steps."""
    return {name: {"reused": record.reused, "seconds": record.seconds} for name, record in records.items()}
