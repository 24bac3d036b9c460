"""A version on its way out: nothing is released that is not the champion, whole, and without an alarm."""

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event

from tverase.config import Params
from tverase.errors import DataError, NotProved
from tverase.files import sha256

from ._chain import PUBLISHED
from ._champion import Champion, champion, mark
from ._review_gates import REJECTED
from ._versions import REVIEW

EVENT = "tverase.release.published"


def releasable(params: Params) -> Champion | None:
    """The champion, once its files in the registry and in outputs/ are those that were evaluated; None without one."""
    with TemporaryDirectory() as folder:
        found = champion(params, Path(folder))
        if found is None:
            return None
        tags = found.version.tags
        if tags.get(REVIEW) == REJECTED:
            raise NotProved(f"{found.name} was rejected and is not released; promote another version.")
        if alarm := tags.get("monitor.alarm"):
            raise NotProved(f"{found.name} is not released, because the monitor raised an alarm ({alarm}).")
        here = params.out / "erased"
        if not here.is_dir() or sha256(here) != found.digest:
            raise DataError(
                f"{here} is not {found.name} ({found.digest[:12]}); bring its results back with `tverase run` and its "
                "parameters, or with `dvc pull` at its commit."
            )
        return found


def record(found: Champion, said: dict[str, str]) -> None:
    """Write into the registry, a page and an event where the version was published."""
    mark(
        found.version,
        {
            f"{PUBLISHED}.store": said["store"],
            f"{PUBLISHED}.when": datetime.now(UTC).isoformat(timespec="seconds"),
            PUBLISHED: said["digest"],
        },
    )
    name = f"{said['name']}@{said['version']}"
    text = f"# {found.name} is {name}\n\nIn `{said['store']}`, sha256 `{said['digest']}`.\n\n`tverase fetch {name} --to FOLDER`"
    key = "release-" + "".join(c if c.isascii() and c.isalnum() else "-" for c in found.name.lower())
    create_markdown_artifact(key=key, markdown=text, description=f"{found.name} published")
    resource = {"prefect.resource.id": f"tverase.release.{said['version']}", "prefect.resource.name": found.name}
    emit_event(event=EVENT, resource=resource, payload=said)
