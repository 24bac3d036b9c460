"""Silence, set before any library is imported, and plain words at the end. Nothing heavy is imported here, so that
`tverase --help` is quick.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tverase.errors import TveraseError

QUIET = {
    "DO_NOT_TRACK": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}


def quiet() -> None:
    """No telemetry, and no chatter of libraries between our own lines."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


@contextmanager
def plainly() -> Iterator[None]:
    """Errors that we know end the process with one sentence on stderr and their exit code."""
    try:
        yield
    except TveraseError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
