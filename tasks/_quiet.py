"""Silence, set before any library is imported, and plain words at the end. Nothing heavy is imported here, so that
`tverase --help` is quick.
"""

import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from tverase.errors import TveraseError, one_line

from ._secrets import clean

QUIET = {
    "DO_NOT_TRACK": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}
WORDS = {signal.SIGINT: "stopped by Ctrl-C", signal.SIGTERM: "stopped by SIGTERM"}
TRACEBACK = Path(".tverase/traceback.txt")
ENDS = (".", "?", "!")  # of a sentence
GRACE = 8.0  # seconds from a signal to the end; a container is killed after ten


class _Warnings(logging.Handler):
    """Our own warnings on stderr, where Prefect's log is kept off the terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        """On one line, without secrets. A stderr that is gone ends no run."""
        try:
            sys.stderr.write(f"warning: {one_line(clean(record.getMessage()))}\n")
        except Exception:
            self.handleError(record)


def tell_warnings() -> None:
    """From now on the warnings of the logger `tverase` are on stderr."""
    ours = logging.getLogger("tverase")
    if not any(isinstance(handler, _Warnings) for handler in ours.handlers):
        ours.addHandler(_Warnings(logging.WARNING))


class Stopped(BaseException):
    """A signal asked for the end. No `except Exception` may take it for a fault, nor click for its own Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def quiet() -> None:
    """No telemetry, and no chatter of libraries between our own lines."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


@contextmanager
def plainly(kept: str = "finished steps are kept, and the next run goes on from there") -> Iterator[None]:
    """Errors that we know, SIGTERM and Ctrl-C end the process with one sentence on stderr and their exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A name that is no UTF-8 is shown escaped; it was typed, or lies in a folder.
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    with _stoppable(kept):
        try:
            yield
        except TveraseError as error:
            _say(str(error))
            sys.exit(error.exit_code)
        except Stopped as stop:
            sys.stderr.write(f"{WORDS[signal.Signals(stop.number)]}; {kept}.\n")
            leave_soon(128 + stop.number)
            sys.exit(128 + stop.number)
        except Exception as error:
            _say(_unforeseen(error))
            sys.exit(TveraseError.exit_code)


def _say(text: str) -> None:
    """On one line, without secrets; these first, because half of one would not be known as one."""
    said = one_line(clean(text))
    sys.stderr.write(f"error: {said}{'' if said.endswith(ENDS) else '.'}\n")


def _unforeseen(error: Exception) -> str:
    """A sentence for what nobody thought of; the traceback goes into a file, for whoever is to mend it."""
    said = one_line(clean(f"{type(error).__name__}: {error}"))[:300]
    whole = clean("".join(traceback.format_exception(error)))
    try:
        TRACEBACK.parent.mkdir(parents=True, exist_ok=True)
        TRACEBACK.write_text(whole, encoding="utf-8", errors="backslashreplace")
    except OSError as full:
        return f"unforeseen {said} (and {TRACEBACK} cannot be written: {full.strerror}); please report it"
    return f"unforeseen {said}; please report it with {TRACEBACK}, which has the traceback"


def leave_soon(code: int) -> None:
    """End the process with this code in a while at the latest: libraries have their say at the exit, but not for ever."""
    _later(os._exit, code)


def _later(call: Callable[[int], object], number: int) -> threading.Timer:
    timer = threading.Timer(GRACE, call, [number])
    timer.daemon = True
    timer.start()
    return timer


@contextmanager
def _stoppable(kept: str) -> Iterator[None]:
    """Turn the first signal into `Stopped`; a second one, or too long a farewell, ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can take signals
        return
    timers: list[threading.Timer] = []

    def leave(number: int) -> None:
        os.write(2, f"{WORDS[signal.Signals(number)]}; {kept}.\n".encode())
        os._exit(128 + number)

    def stop(number: int, _: FrameType | None) -> None:
        if timers:
            leave(number)
        timers.append(_later(leave, number))
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in WORDS}
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
