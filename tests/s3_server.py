"""A real S3 server on loopback, SeaweedFS from its package, and a proxy in front of it with the faults of a network."""

import json
import random
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import boto3
from botocore.exceptions import ClientError

from tests.servers import free_port, running, wait_for

KEY, SECRET, BUCKET = "tverase-test-key", "wJalrXUtnFEMI/K7MDENG", "tverase"
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
        wait_for(lambda: _bucket(port))  # it comes a moment after the server
        yield port


def _bucket(port: int) -> bool:
    keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
    try:
        boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", **keys).head_bucket(Bucket=BUCKET)
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
