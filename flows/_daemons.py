"""Processes that outlive the command that starts them, known again by their id and the time of their start."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

GRACE = 20.0  # seconds between SIGTERM and SIGKILL


@dataclass(frozen=True)
class Daemon:
    """A server in a process group of its own."""

    name: str
    pid: int
    begun: str  # when the process began, in the kernel's words; an id is used again, the two together are not
    port: int
    said: str  # path of its log

    @property
    def alive(self) -> bool:
        """Whether this very process runs."""
        return bool(self.begun) and _begun(self.pid) == self.begun

    @property
    def log(self) -> Path:
        """Where it writes."""
        return Path(self.said)


def start(folder: Path, name: str, command: Sequence[str], port: int, environment: Mapping[str, str]) -> Daemon:
    """Start it in the background, deaf to Ctrl-C in this terminal."""
    path = folder / f"{name}.log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as said:
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True, env=dict(environment)
        )  # fmt: skip
    return Daemon(name, process.pid, _begun(process.pid), port, str(path.absolute()))


def stop(one: Daemon) -> None:
    """SIGTERM, and SIGKILL for what is left of its group; another process with its id is left alone."""
    if not one.alive:
        return
    for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
        with suppress(ProcessLookupError):
            os.killpg(one.pid, number)
        end = time.monotonic() + patience
        while time.monotonic() < end:
            with suppress(ChildProcessError):
                os.waitpid(one.pid, os.WNOHANG)  # ours, if this very command has started it
            if not _group(one.pid):
                return
            time.sleep(0.1)


def _group(pid: int) -> bool:
    """Whether a process of the group is there."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _begun(pid: int) -> str:
    """When a process began; empty if there is none, or if it has ended and nobody has asked how."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _asked(pid) if not Path("/proc/self").exists() else ""
    state, *rest = text.rpartition(")")[2].split()
    return "" if state == "Z" else rest[18]


def _asked(pid: int) -> str:
    """The same where there is no /proc."""
    done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def write(folder: Path, running: Mapping[str, Daemon]) -> None:
    """Remember them."""
    aside = folder / "running.json.part"
    aside.write_text(json.dumps([asdict(one) for one in running.values()], indent=1))
    aside.replace(folder / "running.json")


def read(folder: Path) -> dict[str, Daemon]:
    """What `write` wrote, in its order."""
    try:
        return {entry["name"]: Daemon(**entry) for entry in json.loads((folder / "running.json").read_text())}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])
