"""How DVC runs a step: `python -m tasks.<step> [KEY=VALUE ...]`, with params.yaml and without Prefect."""

import sys
from pathlib import Path

from tverase.config import Params

from ._quiet import plainly, quiet
from ._show import show
from ._step import Step


def main(step: Step) -> None:
    """Run `step` once and leave with its exit code; a mistake of the user's is one sentence on stderr."""
    quiet()
    with plainly():
        params = Params.load(Path("params.yaml"), sys.argv[1:])
        set_threads(params)
        with show(step.name) as tell:
            record = step.execute(params, tell)
    word = "unchanged" if record.reused else f"done in {record.seconds:.0f} s"
    sys.stderr.write(f"{step.name}: {word}\n")


def set_threads(params: Params) -> None:
    """As many threads as params.yaml says. Several processes at once are slower than one after the other."""
    import torch

    if params.runtime.threads:
        torch.set_num_threads(params.runtime.threads)
