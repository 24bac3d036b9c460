"""SeaweedFS from its package, with one bucket and keys of its own; both are made at the first start."""

import json
import os
import secrets
import shutil
import socket
import sys
from contextlib import suppress
from pathlib import Path

from tverase.errors import NetworkError

BUCKET = "tverase"
PORTS = ("s3", "master", "volume", "filer", "admin")
RIGHTS = ["Admin", "Read", "Write", "List", "Tagging"]


def weed() -> str | None:
    """The server's program: of this environment, or else on the path."""
    return shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")


def s3_command(folder: Path) -> tuple[int, list[str], dict[str, str]]:
    """Its port, its command, and the variables of its clients."""
    (folder / "data").mkdir(mode=0o700, parents=True, exist_ok=True)
    key, secret = _keys(folder / "s3.json")
    port = _first_port()
    command = [
        str(weed()), "-logtostderr=true", "mini", f"-dir={folder}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-webdav=false", "-master.telemetry=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        f"-s3.config={folder}/s3.json", "-s3.autoCreateBucket=false", f"-bucket={BUCKET}", "-master.volumeSizeLimitMB=1024",
        *(f"-{name}.port={port + number}" for number, name in enumerate(PORTS)),
    ]  # fmt: skip
    return port, command, {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip


def _keys(path: Path) -> tuple[str, str]:
    """The keys in the server's own file, which only its owner may read."""
    if not path.exists():
        pair = {"accessKey": f"tverase-{secrets.token_hex(4)}", "secretKey": secrets.token_urlsafe(32)}
        identity = {"name": "tverase", "credentials": [pair], "actions": RIGHTS}
        aside = path.with_name(f".{secrets.token_hex(4)}")
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump({"identities": [identity]}, file)
        aside.replace(path)
    pair = json.loads(path.read_text())["identities"][0]["credentials"][0]
    return pair["accessKey"], pair["secretKey"]


def _first_port() -> int:
    """The first of five free ports in a row; those for gRPC are 10,000 higher."""
    for _ in range(200):
        first = 20_000 + secrets.randbelow(10_000)
        with suppress(OSError):
            for port in (first + number + more for number in range(len(PORTS)) for more in (0, 10_000)):
                socket.create_server(("127.0.0.1", port)).close()
            return first
    raise NetworkError("no five free ports in a row are left for SeaweedFS; end some servers, then `make up`.")
