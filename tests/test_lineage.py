"""What made a result: the run's own parameters and records, and a dvc.lock only if it describes just these outputs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks import _tracking
from tasks._lineage import describes, origin
from tasks._record import Record
from tverase.config import Params
from tverase.files import sha256


def record(outputs: dict[str, str], key: str = "k") -> Record:
    return Record("evaluate", key, {"model": "m" * 64}, outputs, 1.5, 7)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_run: dict[str, Any]) -> Path:
    """A checkout whose params.yaml says something else than what is run."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump({**small_run, "seed": 7}))
    return tmp_path


def test_the_parameters_are_those_of_the_run(place: Path, small_run: dict[str, Any]) -> None:
    runs = [small_run, {**small_run, "finetune": {"steps": 3}}, {**small_run, "model": "https://u:s3cr3t@h.example/m"}]
    found = [origin(Params.parse(run), "bomb", {"evaluate": record({"o": "d"})}, []) for run in runs]
    hashes = [one.tags["params.sha256"] for one in found]
    assert len(set(hashes)) == len(runs)
    assert sha256(Path("params.yaml")) not in hashes
    settings, steps = found[-1].files
    assert (settings.name, steps.name, sha256(settings)) == ("params.yaml", "lineage.json", hashes[-1])
    assert "s3cr3t" not in settings.read_text()
    assert yaml.safe_load(settings.read_text())["model"] == "https://h.example/m"
    again = origin(Params.parse(runs[0]), "bomb", {"evaluate": record({"o": "d"})}, [])
    assert again.tags == found[0].tags
    assert Params.load(settings) == Params.parse(runs[0])  # they can be run again


def test_the_steps_are_those_of_the_run(place: Path, small_run: dict[str, Any]) -> None:
    made_by = origin(Params.parse(small_run), "bomb", {"evaluate": record({"outputs/bomb/erased": "d" * 64})}, [])
    content = json.loads(made_by.files[1].read_text())
    assert content["params.sha256"] == made_by.tags["params.sha256"]
    step = content["steps"]["evaluate"]
    assert (step["key"], step["inputs"], step["outputs"], step["seconds"], step["evaluations"]) == (
        "k", {"model": "m" * 64}, {"outputs/bomb/erased": "d" * 64}, 1.5, 7,
    )  # fmt: skip


def test_a_lock_of_another_result_is_left_out(place: Path, small_run: dict[str, Any]) -> None:
    """With a lock that a real DVC wrote, of a file and of a folder."""
    Path("out/bomb/erased/deep").mkdir(parents=True)
    for name in ("out/bomb/erased/a", "out/bomb/erased/deep/b", "out/bomb/tau"):
        Path(name).write_text(name)
    stage = {"cmd": "true", "outs": ["out/bomb/erased", "out/bomb/tau"]}
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"make": stage}}))
    for command in (["init", "-q", "--no-scm"], ["commit", "-q", "-f", "make"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], check=True)
    lock, outputs = Path("dvc.lock"), {"out/bomb/erased": "d", "out/bomb/tau": "e"}
    assert describes(lock, outputs)
    made_by = origin(Params.parse(small_run), "bomb", {"evaluate": record(outputs)}, [lock])
    assert made_by.tags["dvc.lock.sha256"] == sha256(lock)
    assert lock in made_by.files

    assert not describes(lock, {"out/skull/erased": "d"}), "it names nothing of that run"
    Path("out/bomb/erased/deep/b").write_text("made with other parameters")
    assert not describes(lock, outputs)
    made_by = origin(Params.parse(small_run), "bomb", {"evaluate": record(outputs)}, [lock])
    assert "dvc.lock.sha256" not in made_by.tags
    assert lock not in made_by.files


@pytest.mark.parametrize("content", ["", "[]", "stages: 1", "stages: {a: {outs: [1]}}", "{", "stages: {a: null}"])
def test_a_damaged_lock_describes_nothing(content: str, place: Path) -> None:
    Path("dvc.lock").write_text(content)
    assert not describes(Path("dvc.lock"), {"o": "d"})


def test_lineage_in_and_out_of_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (root := tmp_path / "root").mkdir()
    assert _tracking.lineage(root) == {}
    (root / "params.yaml").write_text("seed: 0\n")
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "init", "-q"], check=True)
    assert _tracking.lineage(root) == {}  # no commit yet
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "first"], check=True)
    clean = _tracking.lineage(root)
    assert (len(clean["git.commit"]), clean["git.dirty"]) == (40, "false")

    (root / "dvc.lock").write_text("schema: '2.0'\n")
    assert _tracking.lineage(root)["git.dirty"] == "true"

    monkeypatch.setenv("PATH", str(tmp_path))  # no git here
    assert _tracking.lineage(root) == {}
