"""The lock files are of this code: on a fresh clone DVC would run nothing, although the data is not there."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("pipeline", ["dvc.yaml", "digits/dvc.yaml"])
def test_dvc_would_run_nothing(pipeline: str) -> None:
    command = [sys.executable, "-m", "dvc", "repro", "--dry", "--allow-missing", pipeline]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    stale = [line for line in run.stdout.splitlines() if "Running stage" in line]
    assert not stale, f"run the pipeline again and commit its lock: {stale}"
