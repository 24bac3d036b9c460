"""A limit on the time of a computation, in any thread."""

import ctypes
import threading
from collections.abc import Callable
from typing import TypeVar

R = TypeVar("R")


class OutOfTime(Exception):
    """The time of a computation is up."""


def within(seconds: float, work: Callable[[], R]) -> R:
    """What `work` answers, or `OutOfTime` after so many seconds; 0 is no limit.

    The exception is raised between two Python instructions of this thread. One call of a library is never cut in two.
    """
    if not seconds:
        return work()
    lock, over, thread = threading.Lock(), threading.Event(), ctypes.c_ulong(threading.get_ident())

    def stop() -> None:
        with lock:
            if not over.is_set():
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(OutOfTime))

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        return work()
    finally:
        with lock:
            over.set()
        timer.cancel()
