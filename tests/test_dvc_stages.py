"""A stage that DVC ran is a step that is done: the step itself, called afterwards, finds its own record and does nothing."""

import subprocess
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
    made, again = STEP.execute(params), STEP.execute(params, force=True)
    assert (made.reused, again.reused) == (True, False)
    assert made.outputs == again.outputs, "a second run has the same bytes"


@pytest.mark.slow
def test_another_concept_needs_no_name(tmp_path: Path, small_run: dict[str, Any]) -> None:
    """DVC finds the outputs by the concept; where it cannot, the step says so before it computes."""
    new_project(tmp_path, small_run)
    for words in (["config", "user.email", "test@example.org"], ["config", "user.name", "test"], ["add", "."]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    subprocess.run(["git", "commit", "-qm", "begin"], cwd=tmp_path, check=True)
    dvc(tmp_path, "exp", "run", "-S", "concepts=[skull]", "--single-item", STEP.name)
    made = Path("outputs/skull/images.safetensors")
    assert (tmp_path / made).exists()
    assert str(made) in (tmp_path / "dvc.lock").read_text()
    with pytest.raises(
        AssertionError, match=r"a run of skull, noto writes to outputs/skull\+noto; use `tverase run`, or write"
    ):
        dvc(tmp_path, "exp", "run", "-S", "concepts=[skull,noto]", "--single-item", STEP.name)
