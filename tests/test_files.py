"""Files are whole or absent, and a digest sees what changed and nothing else."""

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tverase.errors import ModelError, StorageError
from tverase.files import read_tensors, sha256, write_json, write_tensors, write_text, writing


def listing(folder: Path) -> dict[str, str]:
    """Every file below `folder` with its content."""
    return {p.relative_to(folder).as_posix(): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def broken_off(path: Path, error: BaseException) -> None:
    """Write half of what was meant to be written, a folder where there is one."""
    with writing(path) as aside:
        if path.is_dir():
            aside.mkdir()
            (aside / "config.json").write_text("ha")
        else:
            aside.write_text("ha")
        raise error


def test_a_file_is_written_under_its_name(tmp_path: Path) -> None:
    with writing(tmp_path / "deep" / "er" / "report.txt") as aside:
        aside.write_text("whole")
        assert not (tmp_path / "deep" / "er" / "report.txt").exists()
    assert listing(tmp_path) == {"deep/er/report.txt": "whole"}


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt(), OSError(errno.EIO, "bad disk")])
def test_an_error_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    write_text(tmp_path / "report.txt", "old")
    with pytest.raises(type(error)):
        broken_off(tmp_path / "report.txt", error)
    assert listing(tmp_path) == {"report.txt": "old"}


def test_an_error_leaves_the_old_folder(tmp_path: Path) -> None:
    with writing(tmp_path / "model") as aside:
        aside.mkdir()
        (aside / "config.json").write_text("old")
    with pytest.raises(ZeroDivisionError):
        broken_off(tmp_path / "model", ZeroDivisionError())
    assert listing(tmp_path) == {"model/config.json": "old"}


def test_a_folder_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    for generation in ("one", "two"):
        with writing(tmp_path / "model") as aside:
            aside.mkdir()
            (aside / f"{generation}.txt").write_text(generation)
    assert listing(tmp_path) == {"model/two.txt": "two"}


def test_what_a_killed_run_left_aside_is_swept_away(tmp_path: Path) -> None:
    (tmp_path / "model.part" / "deep").mkdir(parents=True)
    (tmp_path / "model.part" / "deep" / "stale").write_text("stale")
    with writing(tmp_path / "model") as aside:
        aside.mkdir()
        (aside / "fresh").write_text("fresh")
    assert listing(tmp_path) == {"model/fresh": "fresh"}


def test_equal_contents_are_equal_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [1.5, None]})
    write_json(tmp_path / "b.json", {"a": [1.5, None], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    weights = {"w": torch.arange(4.0), "v": torch.ones(2)}
    about = {f"note {i}": str(i) for i in range(8)}  # safetensors itself orders them anew each time
    write_tensors(weights, tmp_path / "a.safetensors", about)
    write_tensors(dict(reversed(weights.items())), tmp_path / "b.safetensors", dict(reversed(about.items())))
    assert sha256(tmp_path / "a.safetensors") == sha256(tmp_path / "b.safetensors")


def test_a_full_disk_while_writing(tmp_path: Path) -> None:
    write_text(tmp_path / "report.txt", "old")
    with pytest.raises(StorageError, match=r"report\.txt cannot be written: no space is left"):
        broken_off(tmp_path / "report.txt", OSError(errno.ENOSPC, "No space left on device"))
    assert listing(tmp_path) == {"report.txt": "old"}


def test_a_full_disk_while_renaming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tensors({"w": torch.zeros(3)}, tmp_path / "tau.safetensors")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match="no space is left"):
        write_tensors({"w": torch.ones(3)}, tmp_path / "tau.safetensors")
    assert torch.equal(read_tensors(tmp_path / "tau.safetensors")[0]["w"], torch.zeros(3))
    assert [p.name for p in tmp_path.iterdir()] == ["tau.safetensors"]


@pytest.mark.parametrize("inside", ["file/report.txt", "file/deep/report.txt"])
def test_a_file_where_a_folder_is_needed(tmp_path: Path, inside: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="a file is where a folder is needed"):
        write_text(tmp_path / inside, "text")
    assert listing(tmp_path) == {"file": "in the way"}


def test_a_folder_where_a_file_is_needed(tmp_path: Path) -> None:
    (tmp_path / "report.txt" / "kept").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"report\.txt cannot be written"):
        write_text(tmp_path / "report.txt", "text")
    assert (tmp_path / "report.txt" / "kept").is_dir()
    assert not (tmp_path / "report.txt.part").exists()


@pytest.fixture(params=[0o555, 0o000], ids=["read-only", "closed"])
def foreign_folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder that may not be written to, in one that anyone may enter, and a user whom permissions bind."""
    with tempfile.TemporaryDirectory() as name:
        folder, privileged = Path(name), os.geteuid() == 0
        folder.chmod(request.param)
        if privileged:
            os.seteuid(65534)  # root may write anywhere
        try:
            yield folder
        finally:
            if privileged:
                os.seteuid(0)
            folder.chmod(0o700)


def test_a_folder_that_is_not_ours(foreign_folder: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written: permission denied"):
        write_text(foreign_folder / "report.txt", "text")
    with pytest.raises(StorageError, match="cannot be written"):
        write_tensors({"w": torch.zeros(3)}, foreign_folder / "tau.safetensors")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM])
def test_every_storage_problem_is_one_sentence(tmp_path: Path, code: int) -> None:
    with pytest.raises(StorageError) as caught, writing(tmp_path / "report.txt"):
        raise OSError(code, os.strerror(code))
    assert str(caught.value).startswith(str(tmp_path / "report.txt"))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 6


def test_tensors_come_back(tmp_path: Path) -> None:
    tensors = {
        "half": torch.randn(3, 4).half(),
        "strided": torch.arange(12.0).view(3, 4).T,
        "learned": torch.ones(2, requires_grad=True),
        "count": torch.tensor(7),
    }
    write_tensors(tensors, tmp_path / "t.safetensors", {"step": "3", "name": "ä"})
    back, about = read_tensors(tmp_path / "t.safetensors")
    assert about == {"step": "3", "name": "ä"}
    assert back.keys() == tensors.keys()
    for key, value in tensors.items():
        assert torch.equal(back[key], value)
        assert back[key].dtype == value.dtype
        assert not back[key].requires_grad


def test_tensors_may_be_read_by_whom_other_files_may(tmp_path: Path) -> None:
    write_text(tmp_path / "report.txt", "text")
    write_tensors({"w": torch.zeros(3)}, tmp_path / "t.safetensors")
    modes = [oct((tmp_path / name).stat().st_mode) for name in ("t.safetensors", "report.txt")]
    assert modes[0] == modes[1]


@pytest.mark.parametrize("damage", ["missing", "truncated", "garbage", "empty", "folder"])
def test_unreadable_tensors_are_a_model_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "t.safetensors"
    write_tensors({"w": torch.zeros(100)}, path)
    whole = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes({"truncated": whole[:-40], "garbage": b"\x93" * 500, "empty": b""}[damage])
    with pytest.raises(ModelError, match=r"t\.safetensors is (not there|damaged)"):
        read_tensors(path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a.txt", "b/c.txt", "b/d/e.txt"):
        write_text(tmp_path / "tree" / name, f"content of {name}")
    return tmp_path / "tree"


def test_digest_of_a_file_is_the_usual_one(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert sha256(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_digest_of_a_folder_knows_content_only(tree: Path, tmp_path: Path) -> None:
    before = sha256(tree)
    os.utime(tree / "a.txt", (1, 1))
    (tree / "a.txt").chmod(0o600)
    (tree / ".DS_Store").write_text("hidden")
    (tree / "empty folder").mkdir()
    assert sha256(tree) == before
    assert sha256(tree.rename(tmp_path / "moved")) == before


@pytest.mark.parametrize("change", ["byte", "rename", "move", "swap", "remove", "add"])
def test_digest_of_a_folder_sees_a_change(tree: Path, change: str) -> None:
    before = sha256(tree)
    if change == "byte":
        (tree / "b" / "d" / "e.txt").write_text("content of b/d/e.txT")
    elif change == "rename":
        (tree / "a.txt").rename(tree / "a2.txt")
    elif change == "move":
        (tree / "b" / "c.txt").rename(tree / "c.txt")
    elif change == "swap":
        (tree / "a.txt").rename(tree / "x")
        (tree / "b" / "c.txt").rename(tree / "a.txt")
        (tree / "x").rename(tree / "b" / "c.txt")
    elif change == "remove":
        (tree / "a.txt").unlink()
    else:
        (tree / "new.txt").touch()
    assert sha256(tree) != before
