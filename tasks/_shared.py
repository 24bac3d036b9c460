"""Results of steps in the store that TVERASE_STORE names, by the step's key, so that another machine need not compute them.

Without the variable nothing happens. A store that fails costs one warning: the rest of the process computes by itself.
"""

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ParamSpec, TypeVar

from tverase.errors import DataError, NetworkError, StorageError
from tverase.files import remove, sha256, storing, write_json
from tverase.storage import visible
from tverase.stores import VARIABLE, open_store

from ._record import Record, versions

RECORD, OUTPUTS = "record.json", "outputs"
P = ParamSpec("P")
R = TypeVar("R")
_failed = set[str]()  # stores that did not answer this process


def _if_there(call: Callable[P, R]) -> Callable[P, R | None]:
    @wraps(call)
    def guarded(*given: P.args, **named: P.kwargs) -> R | None:
        where = os.environ.get(VARIABLE, "")
        if not where or where in _failed:
            return None
        try:
            return call(*given, **named)
        except (DataError, NetworkError, StorageError) as error:
            _failed.add(where)
            logging.getLogger("tverase").warning("The shared cache is left out of this run: %s", error)
            return None

    return guarded


@_if_there
def restore(
    step: str, key: str, to: Mapping[str, Path], finals: Mapping[str, Path], scratch: Path, *, strict: bool = False
) -> Record | None:
    """Write the shared result of `key` to the paths of `to`. Returns its record with the paths of `finals`, or None.

    Every byte is compared with its sha256. scratch: a folder for an unfinished download, which the next call resumes.
    strict: a result of other versions of the libraries is not used.
    """
    store = open_store()
    digest = store.get_ref(_name(step, key))
    if digest is None:
        return None
    place = scratch / "shared"
    with storing(place):
        scratch.mkdir(parents=True, exist_ok=True)
        store.get(digest, place)
        record, made = Record.read(place / RECORD), place / OUTPUTS
        there = {path.name: sha256(path) for path in made.iterdir()} if made.is_dir() else {}
        fits = record is not None and record.key == key and record.true() and there == record.outputs
        fits = fits and set(there) == set(to)
        if record is None or not fits or (strict and record.versions != versions()):
            remove(place)
            return None
        for name, path in to.items():
            remove(path)
            shutil.move(made / name, path)
        remove(place)
    return replace(record, outputs={str(path): there[name] for name, path in finals.items()})


@_if_there
def share(record: Record, finals: Mapping[str, Path]) -> None:
    """Store the outputs of a step with their record, under its key. Existing objects are not sent again."""
    with TemporaryDirectory() as folder:
        written = Path(folder) / RECORD
        by_name = {name: record.outputs[str(path)] for name, path in finals.items()}
        write_json(written, asdict(replace(record, outputs=by_name)))
        files = {RECORD: written}
        for name, path in finals.items():
            inside = visible(path) if path.is_dir() else {"": path}
            files |= {f"{OUTPUTS}/{name}/{within}".rstrip("/"): file for within, file in inside.items()}
        store = open_store()
        store.put_ref(_name(record.step, record.key), store.put_files(files))


def _name(step: str, key: str) -> str:
    return f"steps/{step}/{key}"
