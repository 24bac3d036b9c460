"""The Prefect server of this project: its state, its password, and its address for our commands.

Everything is in .prefect of the working folder, or in PREFECT_HOME. The home folder may be read-only, or belong to another
version of Prefect. Prefect is not imported here, because its import reads the environment.
"""

import base64
import fcntl
import http.client
import logging
import os
import secrets
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from filelock import FileLock

from tasks._guard import LOOPBACK
from tasks._quiet import tell_warnings
from tverase.errors import NetworkError, StorageError, TveraseError

URL, AUTH = "PREFECT_API_URL", "PREFECT_API_AUTH_STRING"
CALM = {
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",  # of its own threads, each of which misses a server that is gone
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the server gets its log, the terminal our own lines
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
}
PATIENCE = 180.0  # seconds until a server of ours must answer; the first start makes its database


def calm() -> None:
    """Prefect without its chatter, for a command that speaks for itself."""
    for name, value in CALM.items():
        os.environ.setdefault(name, value)
    tell_warnings()
    logging.raiseExceptions = False  # no word about a line of the log that its server did not get


def home() -> Path:
    """The folder of Prefect's state, made and written to once; also told to Prefect itself."""
    folder = Path(os.environ.get("PREFECT_HOME") or ".prefect").expanduser().absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StorageError(
            f"cannot write to {folder}, where Prefect's state is kept: {error.strerror or error}; "
            "make it writable, or name another folder with PREFECT_HOME."
        ) from error
    os.environ["PREFECT_HOME"] = str(folder)
    os.environ.setdefault("PREFECT_LOCAL_STORAGE_PATH", str(folder / "storage"))
    return folder


def password(folder: Path) -> str:
    """`user:password` of this project's server, from a file that only its owner may read; made if it is not there."""
    path = folder / "auth"
    try:
        with FileLock(folder / "auth.lock", timeout=60):
            if path.is_symlink() or not path.is_file() or not path.read_text().strip():
                descriptor, aside = tempfile.mkstemp(dir=folder)  # its mode is 0600
                with os.fdopen(descriptor, "w") as file:
                    file.write(f"tverase:{secrets.token_urlsafe(32)}\n")
                Path(aside).replace(path)
            path.chmod(0o600)
            return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"cannot use {path}, the password of the Prefect server: {error}; remove it.") from error


def is_local(url: str) -> bool:
    """Whether an address is on this machine; the password goes nowhere else by itself."""
    return (urlsplit(url).hostname or "") in {name.strip("[]") for name in LOOPBACK}


def as_client(url: str) -> None:
    """Tell Prefect, before it is imported, which server to use and with which password."""
    folder = home()
    os.environ[URL] = url
    if is_local(url):
        if not os.environ.get(AUTH):
            os.environ[AUTH] = password(folder)
        for name in ("NO_PROXY", "no_proxy"):  # a proxy for the web has nothing to do with this machine
            os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost"]))


def reach() -> Callable[[], None]:
    """Choose the server of a run: PREFECT_API_URL, the one of `make serve`, or a new one that ends with this process.

    Returns a function that waits until a new one answers, because its start takes longer than our own imports.
    """
    folder = home()
    if "prefect" in sys.modules:  # a program that has set it up by itself
        from prefect.settings import PREFECT_API_URL

        if PREFECT_API_URL.value():
            return lambda: None
    url = os.environ.get(URL) or served(folder)
    if not url:
        return _start(folder)
    as_client(url)
    probe(url)
    return lambda: None


def probe(url: str) -> None:
    """A server that is down or does not know our password is one sentence, before anything is computed."""
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        right = False
    if not right:
        raise NetworkError(f"PREFECT_API_URL must be an address like http://127.0.0.1:4200/api, and is {url!r}.")
    where = f"the Prefect server at {parts._replace(netloc=parts.netloc.rpartition('@')[2]).geturl()}"
    request = urllib.request.Request(f"{url.rstrip('/')}/admin/version")  # noqa: S310 - the scheme was looked at
    given = os.environ.get(AUTH)
    if given:
        request.add_header("Authorization", "Basic " + base64.b64encode(given.encode()).decode())
    advice = "start it (`make serve`), correct PREFECT_API_URL, or unset it to use a server of our own."
    try:
        with urllib.request.urlopen(request, timeout=15):  # noqa: S310
            return
    except urllib.error.HTTPError as error:
        if error.code == 401:
            raise NetworkError(f"{where} refuses our password: set {AUTH} to its user:password.") from error
        raise NetworkError(f"{where} answers {error.code} {error.reason}; {advice}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        why = getattr(error, "reason", None) or error
        raise NetworkError(f"{where} cannot be reached ({why}); {advice}") from error


@contextmanager
def serving(folder: Path, url: str) -> Iterator[None]:
    """Hold the place of this project's one lasting server, and say its address to our other commands."""
    with open(folder / "serving", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise NetworkError(f"this project's Prefect server runs already, at {_address(file)}.") from error
        file.truncate(0)
        file.write(url)
        file.flush()
        yield


def served(folder: Path) -> str:
    """The address of this project's lasting server, empty if there is none."""
    with suppress(FileNotFoundError), open(folder / "serving") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return _address(file)
    return ""


def _address(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip()


def starting(folder: Path) -> FileLock:
    """A lock, taken, for the time of a start: two servers that make the database at once would spoil it."""
    lock = FileLock(folder / "start.lock")
    try:
        lock.acquire(timeout=PATIENCE)
    except OSError as error:
        raise StorageError(f"{folder / 'start.lock'} is held by another start of a Prefect server: {error}") from error
    return lock


def check_database(folder: Path) -> None:
    """A database that another version of Prefect has changed, or a damaged one, is one sentence and not a traceback."""
    path = folder / "prefect.db"
    spec = find_spec("prefect")
    if not path.exists() or spec is None or os.environ.get("PREFECT_SERVER_DATABASE_CONNECTION_URL"):
        return
    try:
        with closing(sqlite3.connect(path, timeout=30)) as database:
            tables = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
            found = database.execute("select version_num from alembic_version") if "alembic_version" in tables else []
            revisions = [str(revision) for (revision,) in found]
    except sqlite3.DatabaseError as error:
        raise StorageError(
            f"{path} is no database that Prefect can use ({error}); move it away and a new one is made."
        ) from error
    migrations = (
        Path(next(iter(spec.submodule_search_locations or [""]))) / "server/database/_migrations/versions/sqlite"
    )
    if migrations.is_dir() and any(not [*migrations.glob(f"*_{revision}_*.py")] for revision in revisions):
        raise StorageError(
            f"{path} was made by another version of Prefect (its revision {', '.join(revisions)} is unknown here); "
            "move it away and a new one is made, or use that version."
        )


def _start(folder: Path) -> Callable[[], None]:
    """Start a server for this process alone, on a free port of loopback."""
    # Of this server alone, whatever password is exported for another one.
    os.environ[AUTH] = os.environ["PREFECT_SERVER_API_AUTH_STRING"] = password(folder)
    lock = starting(folder)
    check_database(folder)
    root, said = str(Path(__file__).parents[1]), tempfile.TemporaryFile("w+", dir=folder)  # noqa: SIM115 - until it answers
    with socket.create_server(("127.0.0.1", 0)) as bound:
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/api"
        as_client(url)
        server = subprocess.Popen(
            [sys.executable, "-m", "flows.serve", "run", "--fd", str(bound.fileno()), "--parent", str(os.getpid())],
            pass_fds=[bound.fileno()], stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))},
        )  # fmt: skip

    def wait() -> None:
        try:
            _until_it_answers(server, url, said)
        finally:
            lock.release()

    return wait


def _until_it_answers(server: subprocess.Popen[bytes], url: str, said: IO[str]) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and server.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5):  # noqa: S310 - our own
            return
        time.sleep(0.1)
    server.kill()
    said.seek(0)
    last = next((line.strip() for line in reversed(said.read().splitlines()) if line.strip()), "no word from it")
    raise TveraseError(f"Prefect's own server did not start: {last.removeprefix('error: ')}")
