"""A run whose machine is taken away goes on: its finished steps are kept, so what is lost is part of one step."""

from datetime import UTC, datetime, timedelta
from typing import Any

TRIES = 3  # of one run, the first one among them
PAUSE = timedelta(seconds=30)


def go_on(flow: Any, flow_run: Any, state: Any) -> None:
    """Schedule a deployed run again that SIGTERM has ended, as a cloud ends a machine; what memory has ended would end again."""
    from prefect.client.orchestration import get_client
    from prefect.states import Scheduled

    if (
        flow_run.deployment_id is None
        or flow_run.run_count >= TRIES
        or "termination signal" not in (state.message or "")
    ):
        return
    later = Scheduled(name="AwaitingRetry", scheduled_time=datetime.now(UTC) + PAUSE)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(flow_run.id, later, force=True)
