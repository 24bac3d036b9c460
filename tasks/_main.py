"""Before any work: what cannot work is refused, and the threads are set."""

import ctypes
from contextlib import suppress

from tverase.config import Params
from tverase.errors import ConfigError
from tverase.models.folder import refuse_own_output
from tverase.registry import built

from ._quiet import quiet as quiet

MOST_THREADS = 1024


def require_possible(params: Params) -> None:
    """Refuse what cannot work, before anything starts: a device, a judge, a model in the run's own outputs."""
    import torch

    refuse_own_output(params.model, params.out)
    built("judge", params.judge_spec)
    name = params.runtime.device
    there = ["cpu"]
    if torch.cuda.is_available():
        there += ["cuda", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        there.append("mps")
    if name not in there:
        raise ConfigError(f"runtime.device={name} is not there; this machine has {', '.join(there)}.")
    if params.runtime.threads > MOST_THREADS:
        raise ConfigError(
            f"runtime.threads={params.runtime.threads} is more than {MOST_THREADS}; 0 takes one for each core."
        )


def set_threads(params: Params) -> None:
    """As many threads as params.yaml says. Several processes at once are slower than one after the other."""
    import torch

    keep_memory()
    if params.runtime.threads:
        torch.set_num_threads(params.runtime.threads)


def keep_memory() -> None:
    """Tell glibc not to give every layer's memory back to the kernel: drawing on a CPU takes 7% less time."""
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    with suppress(OSError, AttributeError, TypeError):  # another C library, which does as it likes
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, 32 << 20)
        mallopt(trim_threshold, (2 << 30) - 1)
