"""A real S3 server on loopback, SeaweedFS from its package, and a proxy in front of it with the faults of a network."""

import json
import random
import shutil
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.servers import free_port, running, wait_for
from tverase import s3
from tverase.errors import TveraseError
from tverase.files import sha256
from tverase.s3 import S3Store
from tverase.stores import open_store

KEY, SECRET, BUCKET = "tverase-test-key", "wJalrXUtnFEMI/K7MDENG", "tverase"
MIB = 1 << 20
WEED = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")


@contextmanager
def seaweed(folder: Path, port: int = 0, *options: str) -> Iterator[int]:
    """A server with one bucket and one key; its data are in `folder`, so that it can be started again there."""
    assert WEED is not None
    (folder / "data").mkdir(parents=True, exist_ok=True)
    rights = ["Admin", "Read", "Write", "List", "Tagging"]
    identity = {"name": "test", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": rights}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    port = port or _ports()
    names = ("s3", "master", "volume", "filer", "admin")
    words = [
        WEED, "-logtostderr=true", "mini", f"-dir={folder}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false",
        "-master.telemetry=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={folder}/s3.json",
        "-s3.autoCreateBucket=false", f"-bucket={BUCKET}", *(f"-{name}.port={port + i}" for i, name in enumerate(names)),
        *(options or ("-master.volumeSizeLimitMB=64",)),
    ]  # fmt: skip
    with running(words, folder, port, "/healthz"):
        wait_for(lambda: _serves(port))  # a moment after the server itself
        yield port


def _serves(port: int) -> bool:
    """Whether the bucket is there, and what it held before a restart can be read: volumes come back one by one."""
    keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", **keys)
    try:
        client.head_bucket(Bucket=BUCKET)
        for found in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
            client.get_object(Bucket=BUCKET, Key=found["Key"], Range="bytes=0-0")
    except ClientError:
        return False
    return True


def _ports() -> int:
    """The first of five free ports in a row; those for gRPC are 10,000 higher."""
    while True:
        first = random.randint(20_000, 30_000)
        with suppress(OSError):
            for port in (first + i + more for i in range(5) for more in (0, 10_000)):
                socket.create_server(("127.0.0.1", port)).close()
            return first


class Proxy:
    """Passes bytes on to a server. What it does to them can be set between requests."""

    def __init__(self, server: int) -> None:
        self.server, self.port = server, free_port()
        self.healthy()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def healthy(self) -> None:
        """Pass everything on, and count again from zero."""
        self.sent = 0  # bytes of requests that the server was given
        self.connections = 0
        self.cut_after = float("inf")  # bytes of requests after which every connection is closed
        self.cuts = float("inf")  # how many connections are cut; later ones are not
        self.answer = b""  # sent in place of the server's answer
        self.answers = float("inf")  # to how many connections
        self.silent = False  # take everything, answer nothing
        self.pause = 0.0  # seconds before each 64 KiB

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if self.answer and self.answers > 0:
                self.answers -= 1
                client.recv(65536)
                client.sendall(self.answer)
                client.shutdown(socket.SHUT_WR)
                while client.recv(65536):
                    pass
                return
            if self.silent:
                while client.recv(65536):
                    pass
                return
            with socket.create_connection(("127.0.0.1", self.server)) as server:
                threading.Thread(target=self._back, args=(server, client), daemon=True).start()
                while chunk := client.recv(65536):
                    time.sleep(self.pause)
                    if self.cuts > 0 and self.sent + len(chunk) > self.cut_after:
                        self.cuts -= 1
                        client.shutdown(socket.SHUT_RDWR)
                        return
                    server.sendall(chunk)
                    self.sent += len(chunk)

    @staticmethod
    def _back(server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while chunk := server.recv(65536):
                client.sendall(chunk)
            client.shutdown(socket.SHUT_WR)


def refusal(status: int, code: str) -> bytes:
    """An S3 server's answer to a request that it refuses."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    return b"HTTP/1.1 %d no\r\nContent-Type: application/xml\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (
        status,
        len(body),
        body,
    )


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
