"""Progress for people: bars on a terminal and in a notebook, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from .progress import Progress, Tell

PLAIN_EVERY = 15.0  # seconds between two plain lines


@contextmanager
def show(step: str) -> Iterator[Tell]:
    """A `tell` that shows how far `step` is: bars on a terminal and in a notebook, a plain line now and then elsewhere."""
    if (display := _notebook()) is not None:
        yield _cell(step, display)
    elif sys.stderr.isatty():
        with _bars(step) as tell:
            yield tell
    else:
        yield lines(step, _on_stderr)


def _notebook() -> Any:
    """IPython's `display` if this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    return display


def _cell(step: str, display: Any) -> Tell:
    """One bar for each kind of work, updated in place in the output of a notebook's cell."""
    known: dict[str, Any] = {}

    def tell(progress: Progress) -> None:
        text = f"{step}: {progress.what} {progress.done}/{progress.total} {progress.note}".rstrip()
        bar = f'<progress value="{progress.done}" max="{max(1, progress.total)}"></progress> {escape(text)}'
        shown = {"text/plain": text, "text/html": bar}
        if progress.what in known:
            known[progress.what].update(shown, raw=True)
        else:
            known[progress.what] = display(shown, raw=True, display_id=True)

    return tell


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


def lines(step: str, say: Callable[[str], object]) -> Tell:
    """A `tell` that says how far `step` is, every `PLAIN_EVERY` seconds."""
    last = time.monotonic()

    def tell(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= PLAIN_EVERY:
            last = time.monotonic()
            say(f"{step}: {progress.what} {progress.done}/{progress.total} {progress.note}".rstrip())

    return tell


def _on_stderr(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
