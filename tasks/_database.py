"""Where MLflow keeps its records: found, reached, made as a whole, and changed by one process at a time."""

import hashlib
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from filelock import FileLock, Timeout

from tverase.errors import TrackingError

from ._secrets import clean

PROBE_SECONDS = 5
STATE = Path(".tverase")  # of the folder that holds the database, or of this one for a server
DEFAULTS = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOG_UV_FILES": "false",  # a uv.lock in the working folder would replace our pins
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # its own 7 are minutes; its timeout stays, large uploads need it
}


def configure() -> str:
    """Point MLflow at MLFLOW_TRACKING_URI, or at mlflow.db here, without telemetry or chatter; returns the URI."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    import mlflow

    level = os.environ["MLFLOW_LOGGING_LEVEL"].upper()
    for logger in ("mlflow", "alembic"):
        logging.getLogger(logger).setLevel(level)
    given = os.environ.get("MLFLOW_TRACKING_URI")
    # Absolute, because MLflow keeps stores by URI. Only what ends a path in a URL is quoted: of a quoted path MLflow
    # makes the folder by its quoted name as well.
    here = str(Path.cwd() / "mlflow.db").replace("%", "%25").replace("?", "%3F")
    where = given or f"sqlite:///{here}"
    mlflow.set_tracking_uri(where)
    if not given:
        # MLflow has put the default into the environment, where it would pass for the user's choice next time.
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    return where


def check_tracking() -> str:
    """Find out before the work whether its result can be recorded; a `TrackingError` if not. Returns the URI."""
    where = configure()
    _require_supported(where)
    with trying("be reached", where):
        _probe(where)
    with trying("make or open its database", where):
        _prepare(where)
    with trying("be used", where):
        import mlflow

        mlflow.MlflowClient().search_experiments(max_results=1)
    return where


@contextmanager
def locked(where: str) -> Iterator[None]:
    """One process at a time, from looking to registering. The kernel frees the lock of a process that is killed."""
    path = database_path(where)
    name = path.name if path else hashlib.sha256(clean(where).encode()).hexdigest()[:16]
    lock_path = (path.parent if path else Path()) / STATE / f"{name}.lock"
    try:
        lock_path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(lock_path)
        lock.acquire(timeout=0)
    except Timeout:
        sys.stderr.write(f"MLflow: waiting for another process that records in {clean(where)}\n")
        lock.acquire()
    except OSError as error:
        raise TrackingError(
            f"{lock_path} cannot be locked ({error.strerror}); make its folder writable, or set MLFLOW_TRACKING_URI to "
            "a database that you may write to."
        ) from error
    try:
        yield
    finally:
        lock.release()


def database_path(where: str) -> Path | None:
    """The SQLite file, or None for a server."""
    name = unquote(where.removeprefix("sqlite:///").partition("?")[0])
    return Path(name).absolute() if where.startswith("sqlite:///") and name not in ("", ":memory:") else None


def is_database(where: str) -> bool:
    """Whether SQLAlchemy opens it, and not a client of a server."""
    return "://" in where and not where.startswith(("http://", "https://", "databricks", "file"))


def _require_supported(where: str) -> None:
    from mlflow.environment_variables import MLFLOW_ALLOW_FILE_STORE

    folder = where.startswith("file:") or "://" not in where
    if folder and not where.startswith("databricks") and not MLFLOW_ALLOW_FILE_STORE.get():
        raise TrackingError(
            f"MLFLOW_TRACKING_URI is {clean(where)!r}, a folder, in which MLflow does not record any more; set it to a "
            "database like sqlite:///mlflow.db or to a server's http:// address, or unset it to record in mlflow.db here."
        )


def _probe(where: str) -> None:
    """One quick attempt, because MLflow itself tries a dead server for minutes and a dead database for 100 s."""
    if where.startswith(("http://", "https://")):
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        # Any answer will do, 403 and 500 too: what comes next says more about them.
        options = {"max_retries": 0, "timeout": PROBE_SECONDS, "raise_on_status": False}
        http_request(get_default_host_creds(where), "/health", "GET", **options)
    elif is_database(where):
        if _missing(path := database_path(where)) and path:
            path.parent.mkdir(parents=True, exist_ok=True)
            return
        with _engine(where) as engine:
            engine.connect().close()


def _missing(path: Path | None) -> bool:
    """Whether the SQLite file has to be made; SQLite itself leaves an empty one where it only wanted to look."""
    return path is not None and (not path.exists() or path.stat().st_size == 0)


def _prepare(where: str) -> None:
    """The database with all its tables, or as it was. One of another MLflow version is refused and not touched."""
    if not is_database(where):
        return
    if _incomplete(where):
        with locked(where):
            if _incomplete(where):  # another process may have been faster
                _make(where)
    _require_this_version(where)


def _incomplete(where: str) -> bool:
    from mlflow.store.db import utils

    if _missing(database_path(where)):
        return True
    with _engine(where) as engine:
        return bool(utils._is_empty_database(engine))


def _make(where: str) -> None:
    """Make the tables, which takes seconds and many commits; an SQLite file aside, so that no kill leaves half of them."""
    import sqlalchemy
    from mlflow.store.db.utils import _initialize_tables

    path = database_path(where)
    if path is None:
        with _engine(where) as engine:
            _initialize_tables(engine)
        return
    aside = path.with_name(f".{path.name}.part")
    _sweep(aside)
    with _engine(sqlalchemy.URL.create("sqlite", database=str(aside))) as engine:
        _initialize_tables(engine)
    if _missing(path):
        _sweep(path)  # an empty file, and what belongs to one that is not there any more
    os.replace(aside, path)
    _sweep(aside)


def _sweep(path: Path) -> None:
    for end in ("", "-journal", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)


def _require_this_version(where: str) -> None:
    from mlflow import __version__
    from mlflow.store.db.utils import _all_tables_exist, _get_latest_schema_revision, _get_schema_version

    with _engine(where) as engine:
        found, expected = _get_schema_version(engine), _get_latest_schema_revision()
        if found == expected and _all_tables_exist(engine):
            return
    raise TrackingError(
        f"the database {clean(where)} is of another version of MLflow, or was left half-made (schema {found}, and MLflow "
        f"{__version__} needs {expected}); make a copy and run `mlflow db upgrade {clean(where)}`, or move it away, or set "
        "MLFLOW_TRACKING_URI to another one."
    )


@contextmanager
def _engine(where: Any) -> Iterator[Any]:
    import sqlalchemy

    engine = sqlalchemy.create_engine(where)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def trying(what: str, where: str) -> Iterator[None]:
    """What MLflow and those that it calls raise becomes a `TrackingError` with a hint."""
    try:
        yield
    except TrackingError:
        raise
    except Exception as error:
        known = {"mlflow", "sqlalchemy", "alembic", "sqlite3", "botocore", "boto3", "requests", "urllib3"}
        if not isinstance(error, (OSError, ImportError)) and type(error).__module__.partition(".")[0] not in known:
            raise
        said = _first_line(error)
        raise TrackingError(f"MLflow at {clean(where)} could not {what} ({said}); {_hint(error, where)}.") from error


def _first_line(error: Exception) -> str:
    line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    if "Max retries exceeded" in line:  # requests wraps the reason in four layers
        line = line.rsplit(": ", 1)[-1].strip("'\")( ")
    return clean(line).rstrip(".")[:300]


def _hint(error: Exception, where: str) -> str:
    denied = {"PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"}
    if getattr(error, "error_code", None) in denied or re.search(r"error code 40[13]", str(error)):
        return "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, and the server's --allowed-hosts"
    if where.startswith(("http://", "https://")):
        return "check MLFLOW_TRACKING_URI and that the server runs, or unset it to record in mlflow.db here"
    return "check MLFLOW_TRACKING_URI, and that the database and its folder can be written"
