"""DVC is told what a flow has made, so that `dvc repro` finds nothing to do."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from tverase.config import Params
from tverase.errors import TveraseError

from ._step import STATE

STAGES = ("make_images", "finetune", "build_vector", "invert", "repair", "search_strength", "erase", "evaluate")

DIGIT_STAGES = tuple(f"digits/dvc.yaml:{name}" for name in ("digit_vectors", "digit_strength", "unconditional_safety"))


def commit_if_params_are_in_git(params: Params, stages: Sequence[str] = STAGES) -> bool:
    """`dvc commit` the run's stages, but only if params.yaml says what was run: DVC believes that file, not us.

    Returns whether anything was committed. Without a DVC repository, or without DVC, nothing happens.
    """
    try:
        if not Path(".dvc").is_dir() or params != Params.load(Path("params.yaml")):
            return False
    except TveraseError:
        return False
    command = [sys.executable, "-m", "dvc", "commit", "-q", "-f", *stages]
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    with FileLock(STATE / "dvc.lock"):
        run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if run.returncode:
        last = (run.stderr.strip().splitlines() or ["no message"])[-1]
        raise TveraseError(f"`dvc commit` failed: {last}. Run `dvc status` to see what DVC thinks is changed.")
    return True
