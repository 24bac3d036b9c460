"""Earlier results of each step, which come back without computing: outputs/<run>/.earlier/<step>/<key>.

A result moves here when another takes its place. It moves back when its key is asked for again and all its bytes are
as recorded. Only renames, so a result takes no space twice; `rm -r outputs/*/.earlier` frees the space of earlier ones.
"""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from tverase.files import remove, sha256, storing

from ._record import Record

RECORD = "record.json"
KEY = re.compile(r"[0-9a-f]{64}")  # what is not one is no name of a folder here


def put_away(place: Path, record_path: Path, outputs: Mapping[str, Path], keep: int) -> None:
    """Move the outputs and their record to `place`, where the last `keep` results stay. Without a record they go."""
    record, aside = Record.read(record_path), place / ".part"
    with storing(place):
        remove(record_path)  # from here on the outputs count for nothing
        remove(aside)
        aside.mkdir(parents=True)
        for name, path in outputs.items():
            if path.exists() or path.is_symlink():
                shutil.move(path, aside / name)
        if keep and record is not None and KEY.fullmatch(record.key) and record.names(outputs):
            record.write(aside / RECORD)
            remove(place / record.key)
            aside.rename(place / record.key)
        remove(aside)
        earlier = sorted(place.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        for old in earlier[: max(0, len(earlier) - keep)]:
            remove(old)


def found(place: Path, key: str, outputs: Mapping[str, Path]) -> Record | None:
    """The record of an earlier result for `key` whose bytes are all there. A damaged one is deleted."""
    record, paths = Record.read(place / key / RECORD), {name: place / key / name for name in outputs}
    known = record is not None and record.key == key and record.true() and record.names(outputs)
    if known and all(path.exists() and sha256(path) == record.outputs[str(outputs[n])] for n, path in paths.items()):
        return record
    remove(place / key)
    return None


def take_back(place: Path, record: Record, record_path: Path, outputs: Mapping[str, Path]) -> None:
    """Move the result of `found` back to its place. The record comes last, and nothing counts without it."""
    with storing(record_path.parent):
        for name, path in outputs.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(place / record.key / name, path)
        record.write(record_path)
        remove(place / record.key)
