"""The history of a watched version: a JSON file in the store that TVERASE_STORE names, or else in outputs/monitor."""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tverase.concepts import slug
from tverase.errors import DataError
from tverase.files import read_json, write_json
from tverase.monitoring.history import read
from tverase.monitoring.night import Night
from tverase.storage import Store
from tverase.stores import VARIABLE, open_store

from ._champion import Champion

FOLDER = Path("outputs/monitor")


def place(champion: Champion) -> str:
    """Where its history is, for people."""
    store = _store()
    return f"{store.place}, {_ref(champion)}" if store else str(_path(champion))


def load(champion: Champion) -> list[Night]:
    """The nights so far. Those of other files under the same number are refused."""
    store, path = _store(), _path(champion)
    if store is None:
        return _read(path, champion) if path.exists() else []
    digest = store.get_ref(_ref(champion))
    if digest is None:
        return []
    with TemporaryDirectory() as folder:
        store.get(digest, Path(folder) / "history.json")
        return _read(Path(folder) / "history.json", champion)


def save(champion: Champion, nights: Sequence[Night]) -> None:
    """Write the nights. The store gets the file first and its name last, so that no history is ever half of one."""
    content = {
        "model": champion.version.name,
        "version": str(champion.version.version),
        "pipeline": champion.digest,
        "nights": [night.as_dict() for night in nights],
    }
    store, path = _store(), _path(champion)
    write_json(path, content)
    if store is not None:
        store.put_ref(_ref(champion), store.put(path))


def _store() -> Store | None:
    return open_store() if os.environ.get(VARIABLE) else None


def _path(champion: Champion) -> Path:
    return FOLDER / slug(champion.version.name) / f"v{champion.version.version}.json"


def _ref(champion: Champion) -> str:
    return f"monitor/{slug(champion.version.name)}/v{champion.version.version}"


def _read(path: Path, champion: Champion) -> list[Night]:
    try:
        content = read_json(path)
        pipeline, nights = content["pipeline"], read(content)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"the history {path} is damaged ({error}); restore it, or move it away.") from error
    if pipeline != champion.digest:
        raise DataError(
            f"the history of {champion.name} is of other files ({str(pipeline)[:12]}); move {place(champion)} away."
        )
    return nights
