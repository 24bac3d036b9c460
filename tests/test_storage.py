"""The store in a folder: by content, whole or absent, read back, and checked on the way out."""

import json
from pathlib import Path

import pytest

from tasks import _shared
from tverase.errors import ConfigError, DataError, StorageError
from tverase.files import sha256
from tverase.storage import FolderStore, folder_digest, visible
from tverase.stores import open_store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """A store in a folder, which TVERASE_STORE names; the working folder is another one, and empty."""
    monkeypatch.setenv("TVERASE_STORE", str(tmp_path / "store"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(_shared, "_failed", set())
    opened = open_store()
    assert isinstance(opened, FolderStore)
    return opened


def some_folder(path: Path) -> Path:
    for name in ("a/x", "a-b/y", "a/.hidden", "z", "ä"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(name)
    return path


def test_a_folder_has_the_digest_of_its_files(store: FolderStore, tmp_path: Path) -> None:
    folder = some_folder(tmp_path / "folder")
    hashes = {name: sha256(path) for name, path in visible(folder).items()}
    assert folder_digest(hashes) == sha256(folder) == store.put(folder)
    store.get(sha256(folder), tmp_path / "back")
    assert sorted(visible(tmp_path / "back")) == sorted(hashes)
    assert sha256(tmp_path / "back") == sha256(folder)


def test_what_is_fetched_takes_the_place_of_what_was_there(store: FolderStore, tmp_path: Path) -> None:
    folder = some_folder(tmp_path / "folder")
    digest, one = store.put(folder), store.put(folder / "z")
    for _ in range(2):
        store.get(one, tmp_path / "back")
        assert (tmp_path / "back").read_text() == "z"
        store.get(digest, tmp_path / "back")
        assert sha256(tmp_path / "back") == digest


def test_damage_is_noticed_and_replaced(store: FolderStore, tmp_path: Path) -> None:
    folder = some_folder(tmp_path / "folder")
    digest = store.put(folder)
    inner = sha256(folder / "z")
    stored = store.root / "objects" / inner[:2] / inner
    stored.write_text("!")
    (tmp_path / "back").mkdir()
    with pytest.raises(StorageError, match="is damaged"):
        store.get(digest, tmp_path / "back")
    assert list((tmp_path / "back").iterdir()) == []  # as it was
    store.put(folder, reread=True)
    store.get(digest, tmp_path / "back")
    assert sha256(tmp_path / "back") == digest

    listed = store.root / "trees" / digest[:2] / digest
    listed.write_text(listed.read_text().replace('"z"', '"../z"'))
    with pytest.raises(StorageError, match="is damaged"):
        store.get(digest, tmp_path / "again")
    for text in ("{", "[]", '{"files": {"z": 1}}'):
        listed.write_text(text)
        with pytest.raises(StorageError, match="is damaged"):
            store.files(digest)
    store.put(folder)
    assert store.files(digest) is not None


class Forgetful(FolderStore):
    """A store that loses the end of what it is sent, so many times."""

    times = 1

    def _send(self, path: Path, key: str, digest: str) -> None:
        super()._send(path, key, digest)
        if self.times > 0:
            self.times -= 1
            (self.root / key).write_bytes(path.read_bytes()[:-1])


def test_what_is_sent_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("content")
    store = Forgetful(tmp_path / "store")
    digest = store.put(tmp_path / "x")
    store.get(digest, tmp_path / "back")
    assert (tmp_path / "back").read_text() == "content"
    (tmp_path / "y").write_text("other")
    store.times = 2
    with pytest.raises(StorageError, match=r"does not return .*/y as it was sent"):
        store.put(tmp_path / "y")
    with pytest.raises(DataError, match="is not in"):
        store.get(sha256(tmp_path / "y"), tmp_path / "back")


def test_one_digest_is_one_folder(store: FolderStore, tmp_path: Path) -> None:
    digest = store.put(some_folder(tmp_path / "folder"))
    listed = store.root / "trees" / digest[:2] / digest
    files = sorted(visible(tmp_path / "folder"), key=Path)
    whole = "\n".join(f"{name}\0{sha256(tmp_path / 'folder' / name)}" for name in files)
    name, _, last = whole.rpartition("\0")
    listed.write_text(json.dumps({"files": {name: {"sha256": last, "size": 1}}}))  # the same digest, one strange name
    with pytest.raises(StorageError, match="is damaged"):
        store.files(digest)


def test_names_point_to_digests(store: FolderStore, tmp_path: Path) -> None:
    digest = store.put(some_folder(tmp_path / "folder"))
    assert store.refs() == []
    assert store.get_ref("published/a/latest") is None
    store.put_ref("published/a/latest", digest)
    store.put_ref("steps/select/1", digest)
    assert store.refs("published/") == ["published/a/latest"]
    assert store.get_ref("steps/select/1") == digest
    (store.root / "refs" / "steps" / "select" / "1").write_text("half")
    with pytest.raises(StorageError, match="is damaged"):
        store.get_ref("steps/select/1")
    for name in ("", "../up", "a//b", "/a", "a/", ".."):
        with pytest.raises(ConfigError):
            store.put_ref(name, digest)
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        store.get("../../etc/passwd", tmp_path / "back")


def test_what_is_not_there_is_one_sentence(store: FolderStore, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not in"):
        store.get("0" * 64, tmp_path / "back")
    with pytest.raises(DataError, match="is not there"):
        store.put(tmp_path / "nothing")
    assert not list(tmp_path.rglob("*.part"))


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    (tmp_path / "x").write_text("x")
    with pytest.raises(StorageError, match="a file is where a folder is needed"):
        FolderStore(tmp_path / "store").put(tmp_path / "x")


@pytest.mark.parametrize("where", ["", "gs://bucket/p", "s3://", "s3://key:s3cr3t@bucket/p", "s3://b"])
def test_a_store_that_is_none(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TVERASE_STORE", raising=False)
    with pytest.raises(ConfigError, match="s3://BUCKET/PREFIX") as error:
        open_store(where)
    assert "s3cr3t" not in str(error.value)
