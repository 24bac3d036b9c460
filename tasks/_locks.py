"""One run at a time writes to a folder of outputs. The kernel frees the lock of a process that is killed."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from filelock import FileLock, Timeout

from tverase.errors import StorageError
from tverase.files import storing

STATE = Path(".tverase")  # locks and unfinished work of this checkout
HELD: ContextVar[frozenset[Path]] = ContextVar("HELD", default=frozenset())


def run_lock(name: str) -> Path:
    """The lock of the run `name`, which is that of everything under outputs/<name>."""
    return STATE / f"run-{name}.lock"


def on_stderr(text: str) -> None:
    """Say a line."""
    sys.stderr.write(f"{text}\n")


def require_free(path: Path, what: str) -> None:
    """Raise a `StorageError` that names the holder of the lock at `path`, if there is one."""
    lock, holder = FileLock(path.absolute()), path.absolute().with_suffix(".by")
    if not path.exists():
        return
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError) as error:
        by = holder.read_text() if isinstance(error, Timeout) and holder.exists() else "another process"
        raise StorageError(
            f"{what} is locked by {by}; run again later, or leave --no-wait out to wait for it."
        ) from None
    lock.release()


@contextmanager
def locked(path: Path, what: str, say: Callable[[str], object] = on_stderr) -> Iterator[None]:
    """Hold the lock at `path`; a caller that waits says for whom, and one that holds it already goes on at once."""
    place = path.absolute()
    if place in HELD.get():
        yield
        return
    lock, holder = FileLock(place), place.with_suffix(".by")
    with storing(STATE):
        STATE.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        by = holder.read_text() if holder.exists() else "another process"
        say(f"{what}: waiting for {by}")
        lock.acquire()
    except OSError as error:
        raise StorageError(
            f"{path} cannot be locked ({error.strerror}); choose a folder that you may write to."
        ) from error
    held = HELD.set(HELD.get() | {place})
    try:
        holder.write_text(f"process {os.getpid()}, which runs {what} (since {time.strftime('%H:%M:%S')})")
        yield
    finally:
        HELD.reset(held)
        lock.release()
