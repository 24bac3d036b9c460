"""Progress for people: bars on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tverase.progress import Progress, Tell

PLAIN_EVERY = 15.0  # seconds between two plain lines


@contextmanager
def show(step: str) -> Iterator[Tell]:
    """A `tell` that shows how far `step` is, on stderr."""
    if sys.stderr.isatty():
        with _bars(step) as tell:
            yield tell
    else:
        yield _lines(step)


@contextmanager
def _bars(step: str) -> Iterator[Tell]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = [TextColumn("{task.description:<32}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Bars(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True), transient=True) as bars:
        known: dict[str, int] = {}

        def tell(progress: Progress) -> None:
            name = progress.what
            if name not in known:
                known[name] = int(bars.add_task(f"{step}: {name}", total=progress.total, note=""))
            bars.update(bars.task_ids[known[name]], completed=progress.done, total=progress.total, note=progress.note)

        yield tell


def _lines(step: str) -> Tell:
    last = {"at": time.monotonic(), "what": ""}

    def tell(progress: Progress) -> None:
        now = time.monotonic()
        if now - float(last["at"]) >= PLAIN_EVERY:
            last["at"] = now
            sys.stderr.write(f"{step}: {progress.what} {progress.done}/{progress.total} {progress.note}\n")
            sys.stderr.flush()

    return tell
