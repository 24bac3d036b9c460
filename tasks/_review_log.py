"""Who decided what about a registered model: a chain of events that is only ever added to, and the stack of champions.

The events are files of one MLflow run called `review`. Each has the sha256 of the one before, so that a file that was
changed or taken away is noticed. The registered model's tags say the last one.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tverase.errors import TrackingError

FOLDER = "events"
OF, LAST = "review_of", "review.last"  # tags of the run, of the registered model
KEPT = 200  # champions that the stack remembers


def write(client: Any, version: Any, action: str, by: str, note: str = "", **more: Any) -> dict[str, Any]:
    """Add an event about a version, and say it in the tags of its registered model."""
    run = _run(client, version)
    earlier = _texts(client, run)
    event = {
        "number": len(earlier) + 1,
        "action": action,
        "model": version.name,
        "version": str(version.version),
        "by": by,
        "when": now(),
        "note": note,
        **more,
        "previous": _digest(earlier[-1]) if earlier else "",
    }
    client.log_text(run, json.dumps(event, indent=1), f"{FOLDER}/{event['number']:04d}-{action}.json")
    said = f"{event['number']}: {action} version {version.version}, {by}, {event['when']}"
    client.set_registered_model_tag(version.name, LAST, said)
    return event


def read(client: Any, version: Any) -> list[dict[str, Any]]:
    """The events of a registered model, oldest first; a `TrackingError` if the chain is broken."""
    texts = _texts(client, _run(client, version))
    events = [json.loads(text) for text in texts]
    before = ""
    for number, (text, event) in enumerate(zip(texts, events, strict=True), 1):
        if event["previous"] != before or event["number"] != number:
            raise TrackingError(
                f"event {number} of the review of {version.name} was changed or taken away; compare it with a backup."
            )
        before = _digest(text)
    return events


def now() -> str:
    """The time, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _run(client: Any, version: Any) -> str:
    """The run that holds the events, beside the run of the version."""
    asked = f"tags.{OF} = '{version.name}'"
    everywhere = [one.experiment_id for one in client.search_experiments()]
    found = client.search_runs(everywhere, asked, max_results=1, order_by=["attributes.start_time ASC"])
    if found:
        return str(found[0].info.run_id)
    note = f"The review of {version.name}: one file for each decision, below `{FOLDER}`."
    experiment = client.get_run(version.run_id).info.experiment_id
    made = client.create_run(experiment, tags={OF: version.name, "mlflow.note.content": note}, run_name="review")
    client.set_terminated(made.info.run_id)
    return str(made.info.run_id)


def _texts(client: Any, run: str) -> list[str]:
    paths = sorted(found.path for found in client.list_artifacts(run, FOLDER))
    with TemporaryDirectory() as folder:
        return [Path(client.download_artifacts(run, path, folder)).read_text(encoding="utf-8") for path in paths]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def stack(client: Any, model: str, alias: str) -> list[str]:
    """The champions so far, the current one last."""
    return str(client.get_registered_model(model).tags.get(f"{alias}.history", "")).split()


def keep(client: Any, model: str, alias: str, numbers: list[str], event: Mapping[str, Any], policy: str) -> None:
    """Write the stack and the last move as tags of the registered model."""
    client.set_registered_model_tag(model, f"{alias}.history", " ".join(numbers[-KEPT:]))
    for name in ("from", "to", "by", "when"):
        client.set_registered_model_tag(model, f"{alias}.{name}", str(event[name]))
    client.set_registered_model_tag(model, f"{alias}.policy", policy)
