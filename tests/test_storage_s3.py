"""The store on a real S3 server, which is slow, cut off, restarted, refusing and full."""

import hashlib
import random
import shutil
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import s3_server
from tests.s3_server import BUCKET, KEY, SECRET, Proxy, refusal, seaweed
from tests.servers import free_port
from tverase import s3
from tverase.errors import ConfigError, DataError, NetworkError, StorageError, TveraseError
from tverase.files import sha256
from tverase.s3 import S3Store
from tverase.storage import open_store

pytestmark = pytest.mark.skipif(s3_server.WEED is None, reason="there is no wheel of SeaweedFS for this machine")
MIB = 1 << 20


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with seaweed(tmp_path_factory.mktemp("seaweed")) as port:
        yield port


@pytest.fixture
def proxy(port: int) -> Iterator[Proxy]:
    proxy = Proxy(port)
    yield proxy
    proxy.close()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The keys of the server and nothing of this machine's; small parts and short waits."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_MAX_ATTEMPTS", "TVERASE_STORE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(s3, "PART", 5 * MIB)
    monkeypatch.setattr(s3, "WAIT", 20.0)
    monkeypatch.setattr(s3, "ATTEMPTS", 3)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The test's own prefix, through the server at a port."""

    def opened(port: int) -> S3Store:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
        store = open_store(f"s3://{BUCKET}/{tmp_path.name}")
        assert isinstance(store, S3Store)
        return store

    return opened


def written(path: Path, size: int, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(random.Random(f"{path}{seed}").randbytes(size))
    return path


def exists(store: S3Store, path: Path) -> bool:
    digest = sha256(path)
    return store._present(f"objects/{digest[:2]}/{digest}", digest, path.stat().st_size)


def sentence(error: pytest.ExceptionInfo[TveraseError]) -> str:
    """The message: one sentence, and no secret in it or in the traceback behind it."""
    text = str(error.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert SECRET not in "".join(traceback.format_exception(error.value))
    return text


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


def test_one_cut_is_tried_again(at: Any, proxy: Proxy, tmp_path: Path) -> None:
    path = written(tmp_path / "weights", 12 * MIB)
    proxy.cut_after, proxy.cuts = 3 * MIB, 1
    store = at(proxy.port)
    digest = store.put(path)
    assert proxy.cuts == 0
    store.get(digest, tmp_path / "back")
    assert sha256(tmp_path / "back") == digest


def test_an_upload_that_was_cut_off_shows_nothing_and_goes_on_where_it_was(
    at: Any, proxy: Proxy, tmp_path: Path
) -> None:
    path = written(tmp_path / "weights", 22 * MIB)
    store = at(proxy.port)
    proxy.cut_after = 16 * MIB
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
    assert 5 * MIB < proxy.sent < 22 * MIB  # the rest alone
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


def test_a_slow_server_is_waited_for(at: Any, proxy: Proxy, tmp_path: Path) -> None:
    path = written(tmp_path / "weights", 6 * MIB)
    proxy.pause = 0.02
    store = at(proxy.port)
    store.get(store.put(path), tmp_path / "back")
    assert sha256(tmp_path / "back") == sha256(path)


def test_a_server_that_never_answers_is_given_up(
    at: Any, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "WAIT", 0.3)
    proxy.silent = True
    with pytest.raises(NetworkError, match="does not answer") as error:
        at(proxy.port).put(written(tmp_path / "weights", 10))
    assert proxy.connections == s3.ATTEMPTS
    sentence(error)


def test_a_busy_server_is_asked_again(at: Any, proxy: Proxy, tmp_path: Path) -> None:
    proxy.answer, proxy.answers = refusal(503, "SlowDown"), 2
    path = written(tmp_path / "weights", 10)
    store = at(proxy.port)
    assert store.put(path) == sha256(path)
    assert exists(store, path)


def test_a_server_that_fails_for_good_is_one_sentence(at: Any, proxy: Proxy, tmp_path: Path) -> None:
    store = at(proxy.port)
    proxy.answer = refusal(503, "SlowDown")
    with pytest.raises(NetworkError, match="fails again and again"):
        store.put(written(tmp_path / "weights", 10))
    assert proxy.connections == s3.ATTEMPTS


@pytest.mark.parametrize(("status", "code"), [(507, "InsufficientStorage"), (403, "QuotaExceeded")])
def test_a_store_that_says_it_is_full(at: Any, proxy: Proxy, tmp_path: Path, status: int, code: str) -> None:
    store, path = at(proxy.port), written(tmp_path / "weights", 10)
    proxy.answer = refusal(status, code)
    with pytest.raises(StorageError, match="is full") as error:
        store.put_ref("a", sha256(path))
    sentence(error)


def test_a_server_without_room_keeps_what_it_has(at: Any, tmp_path: Path) -> None:
    kept = list[Path]()
    with seaweed(tmp_path / "full", 0, "-master.volumeSizeLimitMB=1", "-volume.max=1") as port:
        store = at(port)
        # SeaweedFS without a free volume answers 500 InternalError: it does not say that it is full.
        with pytest.raises(NetworkError, match="restarting or full") as error:  # noqa: PT012 - until one of them fails
            for i in range(100):
                store.put(written(tmp_path / "many" / f"{i}", MIB))
                kept.append(tmp_path / "many" / f"{i}")
        assert not exists(store, tmp_path / "many" / f"{len(kept)}")
        for path in kept:
            store.get(sha256(path), tmp_path / "back")
            assert sha256(tmp_path / "back") == sha256(path)
    sentence(error)


def test_a_restart_is_survived(at: Any, tmp_path: Path) -> None:
    one, two, place = written(tmp_path / "one", 100_000), written(tmp_path / "two", 6 * MIB), tmp_path / "server"
    with seaweed(place) as port:
        store = at(port)
        store.put(one)
    with pytest.raises(NetworkError, match="does not answer"):
        store.put(two)
    with seaweed(place, port):
        for path in (one, two):
            assert store.put(path) == sha256(path)
            store.get(sha256(path), tmp_path / "back")
            assert sha256(tmp_path / "back") == sha256(path)


def test_nobody_at_the_address(at: Any, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="does not answer") as error:
        at(free_port()).put(written(tmp_path / "weights", 10))
    sentence(error)


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_keys(port: int, at: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "wrong-value-1234")
    with pytest.raises(StorageError, match="check AWS_ACCESS_KEY_ID") as error:
        at(port).put(written(tmp_path / "weights", 10))
    assert "wrong-value-1234" not in sentence(error)


def test_no_keys(port: int, at: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StorageError, match="needs keys") as error:
        at(port).put(written(tmp_path / "weights", 10))
    sentence(error)


def test_no_bucket(port: int, at: Any, tmp_path: Path) -> None:
    at(port)
    with pytest.raises(StorageError, match="the bucket nothing-here is not at") as error:
        open_store("s3://nothing-here/p").put(written(tmp_path / "weights", 10))
    sentence(error)


def test_a_login_in_the_address_is_not_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://me:hunter22@127.0.0.1:{free_port()}")
    with pytest.raises(NetworkError) as error:
        open_store(f"s3://{BUCKET}/p").put(written(tmp_path / "weights", 10))
    assert "hunter22" not in sentence(error)


def test_a_wrong_address_or_profile_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "not a url")
    with pytest.raises(ConfigError, match="check AWS_ENDPOINT_URL_S3"):
        open_store(f"s3://{BUCKET}/p")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigError, match="AWS_PROFILE"):
        open_store(f"s3://{BUCKET}/p")


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
