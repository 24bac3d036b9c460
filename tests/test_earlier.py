"""Earlier results: they come back as they were or not at all, are bounded in number, and live beside DVC's cache."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from toy_step import PARAMS, STEP, prepare

from tverase.config import Params
from tverase.files import remove, sha256


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return prepare(tmp_path, monkeypatch)


def with_steps(steps: int, keep: int = 3) -> Params:
    return Params.parse({"finetune": {"steps": steps}, "runtime": {"keep": keep}})


def made(text: str = "a") -> list[str]:
    """Run on another input, and read what came out."""
    Path("given.txt").write_text(text)
    STEP.execute(PARAMS)
    return [(PARAMS.out / name).read_text() for name in ("made.txt", "folder/part")]


@pytest.mark.usefixtures("place")
def test_every_byte_and_the_record_come_back() -> None:
    first = STEP.execute(PARAMS)
    record = STEP.record_path(PARAMS).read_bytes()
    hashes = {path: sha256(Path(path)) for path in first.outputs}
    made("b")
    assert made("a") == ["a5", "a5"]
    assert STEP.record_path(PARAMS).read_bytes() == record
    assert {path: sha256(Path(path)) for path in first.outputs} == hashes
    assert STEP.current(PARAMS)


def change(path: Path) -> None:
    path.write_text("x5")


@pytest.mark.parametrize("name", ["made", "folder/part", "folder/more", "record.json"])
@pytest.mark.parametrize("how", [change, remove])
def test_what_is_damaged_is_made_again(place: Path, name: str, how: Callable[[Path], None]) -> None:
    key = STEP.execute(PARAMS).key
    made("b")
    if (how, name) != (remove, "folder/more"):
        how(STEP.earlier(PARAMS) / key / name)
        Path("given.txt").write_text("a")
        assert not STEP.execute(PARAMS).reused
    assert made("a") == ["a5", "a5"]
    assert not (STEP.earlier(PARAMS) / key).exists()


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("keep", [0, 1, 3])
def test_the_last_results_stay_and_older_ones_go(keep: int) -> None:
    keys = [STEP.execute(with_steps(steps, keep)).key for steps in (1, 2, 3, 4, 5, 6)]
    assert {path.name for path in STEP.earlier(PARAMS).iterdir()} == set(keys[:-1][len(keys) - 1 - keep :])
    assert STEP.execute(with_steps(5, keep)).reused == (keep > 0)


@pytest.mark.usefixtures("place")
def test_force_and_strict_and_a_cleared_folder_make_it_again() -> None:
    first = STEP.execute(PARAMS)
    replace(first, versions={**first.versions, "torch": "0.0.1"}).write(STEP.record_path(PARAMS))
    made("b")
    Path("given.txt").write_text("a")
    assert not STEP.execute(PARAMS, strict=True).reused
    made("b")
    remove(PARAMS.out / ".earlier")
    Path("given.txt").write_text("a")
    assert not STEP.execute(PARAMS).reused
    assert not STEP.execute(PARAMS, force=True).reused


def test_a_record_with_a_path_for_a_key_takes_nothing_away(place: Path) -> None:
    first = STEP.execute(PARAMS)
    (place / "mine").write_text("precious")
    replace(first, key="../../../../mine").write(STEP.record_path(PARAMS))
    assert made("b") == ["b5", "b5"]
    assert (place / "mine").read_text() == "precious"


@pytest.mark.usefixtures("place")
def test_a_failed_run_costs_nothing_that_was_there() -> None:
    STEP.execute(PARAMS)
    Path("given.txt").write_text("b")

    def fail(job: object) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        replace(STEP, run=fail).execute(PARAMS)
    Path("given.txt").write_text("a")
    assert STEP.execute(PARAMS).reused


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("kind", ["hardlink", "symlink", "copy"])
def test_results_that_dvc_has_linked_come_back_and_its_cache_stays_whole(kind: str) -> None:
    outs = [{str(path): {"persist": True}} for path in STEP.outputs(PARAMS).values()]
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"toy": {"cmd": "true", "outs": outs}}}))

    def dvc(*words: str) -> str:
        command = [sys.executable, "-m", "dvc", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    dvc("init", "-q", "--no-scm")
    dvc("config", "cache.type", kind)
    for text in ("a", "b"):
        assert made(text) == [f"{text}5", f"{text}5"]
        dvc("commit", "-f", "toy")
    assert (PARAMS.out / "made.txt").is_symlink() == (kind == "symlink")
    assert made("a") == ["a5", "a5"]
    assert STEP.execute(PARAMS).reused
    dvc("commit", "-f", "toy")
    assert "up to date" in dvc("status")
    assert {path.read_text() for path in Path(".dvc/cache/files/md5").rglob("*") if not path.is_dir()} >= {"a5", "b5"}
