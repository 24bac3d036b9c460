"""A stage that DVC ran is a step that is done: the step itself, called afterwards, finds its own record and does nothing."""

from pathlib import Path
from typing import Any

import pytest
from test_flow import dvc, new_project

from tasks.make_images import STEP
from tverase.config import Params


@pytest.mark.slow
def test_what_dvc_made_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_run: dict[str, Any]
) -> None:
    new_project(tmp_path, small_run)
    assert "Running" in dvc(tmp_path, "repro", STEP.name, "--single-item")

    monkeypatch.chdir(tmp_path)
    params = Params.load(Path("params.yaml"))
    assert STEP.execute(params).reused
    assert not STEP.execute(params, force=True).reused
    assert "Running" not in dvc(tmp_path, "repro", STEP.name, "--single-item"), "a second run has the same bytes"
