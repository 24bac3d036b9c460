"""Release the champion: verify its hashes, publish it in the store, and record where it is."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks import _release
from tasks._locks import locked, run_lock
from tasks._main import quiet
from tasks._prefect import States, effect
from tasks._secrets import guard_logs
from tasks._tracking import check_tracking
from tverase.config import Params
from tverase.stores import open_store

from ._again import go_on
from ._form import Concepts, Override, named, params_of
from ._limits import limited
from ._storage_files import publish


@flow(name="release", flow_run_name=named("release"), validate_parameters=True, on_crashed=[go_on])
def release(
    concepts: Concepts | None = None,
    store: str | None = None,
    overrides: list[Override] = [],  # noqa: B006 - Prefect's form shows the default, and nothing changes it
    params_file: str = "params.yaml",
) -> dict[str, Any] | State[Any]:
    """Publish the champion as `tverase publish` does. One with an alarm, or with other files than were evaluated, is refused.

    The run is Completed, and its state is named Released, or Unreleased if there is no champion.

    Args:
        concepts: Whose champion is released: the concepts of its erasure, together.
        store: s3://BUCKET/PREFIX or a folder; otherwise the one that TVERASE_STORE names.
        overrides: More parameters, each as KEY=VALUE.
        params_file: The file of parameters that the fields above change.
    """
    form = locals()
    quiet()
    guard_logs()
    params = params_of(form)
    check_tracking()
    open_store(store)  # a name that cannot be used is found out before the work
    with limited(params), locked(run_lock(params.name), f"the release of {params.name}"):
        return _release_it(params, store or "")


def _release_it(params: Params, store: str) -> State[Any]:
    """Verify, publish and record, each a task."""
    states: States = {}
    found = effect("verify", lambda: _release.releasable(params), states)
    if found is None:
        why = f"{params.name} has no {params.review.alias} yet; `tverase review promote` makes one."
        return Completed(name="Unreleased", message=why, data={"outcome": "unreleased", "why": why})
    number = str(found.version.version)
    said = effect("publish", lambda: publish(f"{params.name}@{number}", store), states)
    effect("record", lambda: _release.record(found, said), states)
    message = f"{found.name} is published as {said['name']}@{said['version']} in {said['store']}."
    return Completed(name="Released", message=message, data={"outcome": "released", "version_of": found.name, **said})


if __name__ == "__main__":
    from tasks._quiet import plainly

    with plainly():
        release()
