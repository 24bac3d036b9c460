"""Opening a model changes how modules are made in the whole process, so nothing may compute meanwhile."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Many threads may compute at once. One that opens a model is alone, and those that begin to compute wait for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._computing, self._waiting, self._opening = 0, 0, False

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Compute, when nobody opens a model or waits to do so."""
        with self._changed:
            self._changed.wait_for(lambda: not self._opening and not self._waiting)
            self._computing += 1
        try:
            yield
        finally:
            with self._changed:
                self._computing -= 1
                self._changed.notify_all()

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Open a model, when nobody computes."""
        with self._changed:
            self._waiting += 1
            self._changed.wait_for(lambda: not self._opening and not self._computing)
            self._waiting -= 1
            self._opening = True
        try:
            yield
        finally:
            with self._changed:
                self._opening = False
                self._changed.notify_all()


GATE = Gate()
