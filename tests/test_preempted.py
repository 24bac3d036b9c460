"""A deployed run that SIGTERM has ended is scheduled again, a few times; any other crash is left to people."""

from types import SimpleNamespace

import pytest

from flows._again import TRIES, go_on
from flows.erase import erase_concept

TERMINATED = "Execution was aborted by a termination signal."


@pytest.mark.parametrize(
    ("message", "count", "deployed", "again"),
    [
        (TERMINATED, 1, True, True),
        (TERMINATED, TRIES, True, False),
        (TERMINATED, 1, False, False),
        ("Process exited with status code: -9. Process exited due to a SIGKILL signal.", 1, True, False),
        (None, 1, True, False),
    ],
)
def test_what_is_scheduled_again(
    prefect_server: None, message: str | None, count: int, deployed: bool, again: bool
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.states import Crashed

    with get_client(sync_client=True) as client:
        made = client.create_deployment(client.create_flow(erase_concept), "preempted")
        run = client.create_flow_run_from_deployment(made)
        client.set_flow_run_state(run.id, Crashed(message=message), force=True)
        told = SimpleNamespace(id=run.id, deployment_id=made if deployed else None, run_count=count)
        go_on(flow=erase_concept, flow_run=told, state=Crashed(message=message))
        assert client.read_flow_run(run.id).state.name == ("AwaitingRetry" if again else "Crashed")


def test_the_flow_has_it() -> None:
    assert go_on in erase_concept.on_crashed_hooks
