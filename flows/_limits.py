"""Concurrency limits of deployed runs, across all workers: `make deploy` makes them, Prefect counts."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.concurrency.sync import concurrency
from prefect.runtime import deployment

from tverase.config import Params
from tverase.errors import ConfigError

GPU, OUTPUTS = "tverase-gpu", "tverase-outputs"
SLOTS = {GPU: "TVERASE_GPUS", OUTPUTS: "TVERASE_WRITERS"}  # how many runs at once, by a variable; 1 without it


def slots(name: str) -> int:
    """How many runs may hold a limit at once."""
    given = os.environ.get(SLOTS[name], "1")
    if not given.isdecimal() or not int(given):
        raise ConfigError(f"{SLOTS[name]}={given!r} is no number of runs; expected 1 or more.")
    return int(given)


@contextmanager
def limited(params: Params, *, writes: bool = True) -> Iterator[None]:
    """Wait for a free place among the deployed runs; a run that a person starts here does not wait.

    writes: whether the run writes to outputs/. A run on a GPU takes one of these too.
    """
    names = [*([OUTPUTS] if writes else []), *([GPU] if params.runtime.device.startswith("cuda") else [])]
    if not names or deployment.id is None:
        yield
        return
    with concurrency(names, occupy=1, strict=False):  # without the limits, a warning and no waiting
        yield
