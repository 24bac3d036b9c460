"""A stage that DVC ran is a step that is done: the step itself, called afterwards, finds its own record and does nothing."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_flow import ROOT, dvc

from tasks.make_images import STEP
from tverase.config import Params


@pytest.mark.slow
def test_what_dvc_made_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_run: dict[str, Any]
) -> None:
    for name in ("tasks", "tverase"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(small_run))
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    dvc(tmp_path, "init", "-q")
    assert "Running" in dvc(tmp_path, "repro", STEP.name, "--single-item")

    monkeypatch.chdir(tmp_path)
    params = Params.load(Path("params.yaml"))
    assert STEP.execute(params).reused
    assert not STEP.execute(params, force=True).reused
    assert "Running" not in dvc(tmp_path, "repro", STEP.name, "--single-item"), "a second run has the same bytes"
