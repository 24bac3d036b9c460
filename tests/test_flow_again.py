"""What a run that changed nothing leaves alone beside its steps: the report, and DVC."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks import _dvc
from tasks._dvc import STAGES, commit_if_params_are_in_git
from tasks._record import Record
from tasks.report import STEP as REPORT
from tverase.config import Params


def record(key: str = "k", digest: str = "d", *, reused: bool = True) -> Record:
    return Record("evaluate", key, {}, {"outputs/metrics.json": digest}, 1.0, 0, reused)


@pytest.fixture
def commits(tmp_path: Path, small_run: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A folder that looks like a DVC repository, and what DVC was called with there."""
    monkeypatch.chdir(tmp_path)
    Path(".dvc").mkdir()
    Path(".git").mkdir()
    Path(".tverase").mkdir()
    Path("params.yaml").write_text(yaml.safe_dump(small_run))
    calls: list[list[str]] = []

    def run(command: list[str], **_: Any) -> Any:
        calls.append(command)
        Path("dvc.lock").write_text("what was committed")
        return type("Run", (), {"returncode": 0})

    monkeypatch.setattr(_dvc.subprocess, "run", run)
    return calls


def test_the_same_is_committed_once(commits: list[list[str]]) -> None:
    params = Params.load(Path("params.yaml"))
    assert commit_if_params_are_in_git(params, {"evaluate": record()})
    assert not commit_if_params_are_in_git(params, {"evaluate": record()})
    assert len(commits) == 1
    assert commits[0][-len(STAGES) :] == list(STAGES)


def test_what_was_made_anew_is_committed_again(commits: list[list[str]]) -> None:
    """The same bytes as before, because they had been damaged: so may be what DVC holds."""
    params = Params.load(Path("params.yaml"))
    for made in (record(reused=False), record(reused=False)):
        assert commit_if_params_are_in_git(params, {"evaluate": made})
    assert not commit_if_params_are_in_git(params, {"evaluate": record()})
    assert len(commits) == 2


@pytest.mark.parametrize("change", ["key", "output", "lock", "stages"])
def test_whatever_changed_is_committed(commits: list[list[str]], change: str) -> None:
    params, now = Params.load(Path("params.yaml")), record()
    commit_if_params_are_in_git(params, {"evaluate": now})
    if change == "key":
        now = record(key="other")
    elif change == "output":
        now = record(digest="other")
    else:
        Path({"lock": "dvc.lock", "stages": "dvc.yaml"}[change]).write_text("checked out from another commit")
    assert commit_if_params_are_in_git(params, {"evaluate": now})
    assert len(commits) == 2


def test_what_is_not_in_params_yaml_is_not_committed(commits: list[list[str]]) -> None:
    other = Params.load(Path("params.yaml"), ["finetune.steps=3"])
    assert not commit_if_params_are_in_git(other, {"evaluate": record()})
    shutil.rmtree(".dvc")
    assert not commit_if_params_are_in_git(Params.load(Path("params.yaml")), {"evaluate": record()})
    assert commits == []


def test_damage_that_went_through_a_link_does_not_come_back_from_the_cache(
    tmp_path: Path, small_run: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a real DVC: the output is a link to its cache, somebody writes into it, the step makes it again."""
    monkeypatch.chdir(tmp_path)
    Path(".tverase").mkdir()
    Path("params.yaml").write_text(yaml.safe_dump(small_run))
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"make": {"cmd": "true", "outs": ["made", "alone"]}}}))
    for command in (["init", "-q", "--no-scm"], ["config", "cache.type", "hardlink"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], check=True)
    params, outputs = Params.load(Path("params.yaml")), [Path("made/whole"), Path("alone")]

    def make() -> None:
        for path in outputs:
            path.parent.mkdir(exist_ok=True)
            path.unlink(missing_ok=True)
            path.write_text(f"{path.name} as it should be")
        again = Record("evaluate", "k", {}, {"made": "d", "alone": "d"}, 1.0, 0)
        assert commit_if_params_are_in_git(params, {"evaluate": again}, ["make"])

    make()
    for path in outputs:
        assert path.stat().st_nlink == 2
        path.chmod(0o644)
        path.write_text("damaged")
        path.chmod(0o444)  # as it was: what nobody may write DVC does not look into
    make()
    assert [path.read_text() for path in outputs] == ["whole as it should be", "alone as it should be"]
    assert all(path.stat().st_nlink == 2 for path in outputs)


def test_a_template_is_part_of_the_report_s_key(small_run: dict[str, Any]) -> None:
    files = {path.name for path in REPORT.code_files(Params.parse(small_run)).values()}
    assert {"report.html.j2", "macros.html.j2", "report.css", "view.py"} <= files


def test_a_copy_without_git_is_left_to_itself(commits: list[list[str]]) -> None:
    """A ZIP of the repository has .dvc and no .git: DVC would refuse it after all the work."""
    Path(".git").rmdir()
    assert not commit_if_params_are_in_git(Params.load(Path("params.yaml")), {"evaluate": record()})
    assert commits == []
