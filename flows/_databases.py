"""Where Prefect and MLflow keep their records: Postgres if this machine has one that we may start, else SQLite."""

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from flows._daemons import free_port
from tverase.errors import ConfigError, StorageError

CHOICE = "TVERASE_DATABASE"  # postgres or sqlite; what is there, without it
PLACES = "/usr/lib/postgresql/*/bin"  # of Debian, newest last
A_FILE = "file:"  # in the place of a path of HTTP: it is there when the server is
Begin = Callable[[str, Sequence[str], int, str, Mapping[str, str]], None]


@dataclass(frozen=True)
class Databases:
    """Variables of both servers, and what was chosen, in words."""

    says: str
    prefect: Mapping[str, str] = field(default_factory=dict)
    mlflow: Mapping[str, str] = field(default_factory=dict)


def databases(folder: Path, begin: Begin) -> Databases:
    """Start Postgres through `begin` if it can be used; otherwise say why not."""
    chosen = os.environ.get(CHOICE, "")
    if chosen not in ("", "postgres", "sqlite"):
        raise ConfigError(f"{CHOICE}={chosen!r} is no database; expected postgres or sqlite.")
    why = "chosen" if chosen == "sqlite" else _against()
    if why and chosen == "postgres":
        raise ConfigError(f"{CHOICE}=postgres, but {why}; unset it to use SQLite.")
    if why:
        return Databases(f"SQLite ({why}); enough for one machine, not for many workers")
    return _postgres(folder, begin)


def _bin() -> Path | None:
    """The folder of Postgres' programs, the newest one."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = sorted(Path("/").glob(PLACES.lstrip("/")), key=lambda path: int("0" + path.parent.name.partition(".")[0]))
    return next((path for path in reversed(folders) if (path / "initdb").exists()), None)


def _against() -> str:
    """Why Postgres cannot be used; empty if it can."""
    if _bin() is None:
        return "no Postgres is installed"
    if os.geteuid() == 0:
        return "Postgres does not run as root"
    return "" if find_spec("asyncpg") else "the driver asyncpg is not installed"


def _postgres(folder: Path, begin: Begin) -> Databases:
    """A cluster in `folder` that answers on loopback, with a password that only its owner may read."""
    programs = _bin()
    assert programs is not None
    folder = folder.absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    password, data = _password(folder / "password"), folder / "data"
    if not (data / "PG_VERSION").exists():
        shutil.rmtree(data, ignore_errors=True)
        _run(
            [
                programs / "initdb",
                "-D",
                data,
                "-U",
                "tverase",
                "-A",
                "scram-sha-256",
                "-E",
                "UTF8",
                "--pwfile",
                folder / "password",
            ]
        )
    port = free_port()
    # No socket file: its path may be too long for the kernel.
    command = [str(programs / "postgres"), "-D", str(data), "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
    begin("postgres", [*command, "-c", "unix_socket_directories="], port, f"{A_FILE}{data}/postmaster.pid", {})
    for name in ("prefect", "mlflow"):
        _make(programs, port, password, name)
    at = f"tverase:{password}@127.0.0.1:{port}"
    theirs = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{at}/prefect"}
    version = (data / "PG_VERSION").read_text().strip()
    if find_spec("psycopg2") is None:
        return Databases(
            f"Postgres {version} for Prefect; SQLite for MLflow (pip install psycopg2-binary to change that)", theirs
        )
    return Databases(f"Postgres {version}", theirs, {"MLFLOW_BACKEND_STORE_URI": f"postgresql://{at}/mlflow"})


def _make(programs: Path, port: int, password: str, name: str) -> None:
    """A database, if it is not there; the server may need a moment to let us in."""
    words = ["-h", "127.0.0.1", "-p", str(port), "-U", "tverase"]
    ready = ["-d", "postgres", "-t", "60"]
    environment = {**os.environ, "PGPASSWORD": password}
    wait = [str(programs / "pg_isready"), *words[:4], *ready]
    for _ in range(60):
        if subprocess.run(wait, capture_output=True, check=False, env=environment).returncode == 0:
            break
        time.sleep(0.5)
    done = subprocess.run(
        [str(programs / "createdb"), *words, name], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode and "already exists" not in done.stderr:
        raise StorageError(f"Postgres did not make the database {name}: {done.stderr.strip().splitlines()[-1]}.")


def _password(path: Path) -> str:
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
    return path.read_text().strip()


def _run(words: Sequence[str | Path]) -> None:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word from it"])[-1]
        raise StorageError(f"{Path(str(words[0])).name} failed: {last}.")
