"""Start our servers as the Makefile does, on free ports and in other folders, and talk to them like a browser."""

import http.client
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


def environment(**more: str) -> dict[str, str]:
    """This process's, without what would lead to another server, and with our code."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", **more}


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


def dry_make(*arguments: str) -> str:
    """What `make` would run, also when `make test` runs these tests: its own flags do not reach this one."""
    kept = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    words = ["make", "--no-print-directory", "-n", *arguments]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, env=kept).stdout.strip()


def command(target: str, port: int) -> list[str]:
    """What `make TARGET PORT=...` runs, with this Python."""
    said = dry_make(target, f"PORT={port}")
    interpreter, *words = shlex.split(said.replace("\\\n", " ").splitlines()[-1])
    assert interpreter.endswith("/python")
    return [sys.executable, *words]


def ask(
    port: int, path: str, method: str = "GET", body: str | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Status and text of one request; a Host in `headers` takes the place of the usual one."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    given = {"Host": f"127.0.0.1:{port}", **(headers or {})}
    connection.putrequest(method, path, skip_host=True)
    for name, value in {**given, **({"Content-Length": str(len(body))} if body is not None else {})}.items():
        connection.putheader(name, value)
    connection.endheaders((body or "").encode())
    answer = connection.getresponse()
    return answer.status, answer.read().decode(errors="replace")


@contextmanager
def running(
    words: list[str], place: Path, port: int, health: str, seconds: float = 120, **more: str
) -> Iterator[subprocess.Popen[str]]:
    """A server that answers within `seconds`; killed at the end if the test has not ended it. Its words go to PLACE/said."""
    with open(place / "said", "a") as said:
        server = subprocess.Popen(words, cwd=place, env=environment(**more), stdout=said, stderr=said, text=True)
    try:
        wait_for(lambda: server.poll() is not None or answers(port, health), seconds)
        assert server.poll() is None, (place / "said").read_text()
        yield server
    finally:
        server.kill()
        server.wait()


def answers(port: int, path: str, status: int = 200) -> bool:
    """Whether the server on this port is there, and well."""
    try:
        return ask(port, path)[0] == status
    except OSError:
        return False


def wait_for(truth: object, seconds: float = 120) -> None:
    """Until `truth()`; an assertion after `seconds`."""
    end = time.monotonic() + seconds
    while not truth():  # type: ignore[operator]
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.1)


def processes(text: str) -> list[int]:
    """Those whose command line or working folder has this text."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
                where = os.readlink(entry / "cwd")
            except OSError:
                continue
            if line and (text in line or where.startswith(text)):
                found.append(int(entry.name))
    return found
