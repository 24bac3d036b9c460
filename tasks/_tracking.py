"""What MLflow keeps of a finished erasure: parameters, numbers, figures, and the pipeline as a registered version.

Only this file and _artifacts talk to MLflow. They import it inside functions, because that takes seconds.
"""

import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tverase.errors import TrackingError

from ._artifacts import log_datasets, log_files, log_pipeline
from ._records import HASH_TAG, Registration, Request, chunks, clean, lineage, metrics, params, tags

__all__ = ["Registration", "Request", "configure", "lineage", "record", "record_and_register"]

PROBE_SECONDS = 5
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


def record_and_register(request: Request) -> Registration:
    """Record a run and register its pipeline under the alias; content that is registered already is not sent again."""
    client, where = _ready(request)
    with _trying(f"look for versions of {request.model_name}", where):
        found = _find(client, request)
    if found is not None:
        with _trying(f"set the alias {request.alias}", where):
            return _again(client, request, found, where)
    with _trying(f"record the run {request.run_name}", where):
        run, model_id = _record(client, request, where)
    with _trying(f"register {request.model_name}", where):
        version = _register(client, request, run.info.run_id, model_id)
    uri = f"models:/{request.model_name}@{request.alias}"
    return Registration(run.info.run_id, request.model_name, int(version), uri, _url(run, where), created=True)


def record(request: Request) -> str:
    """Record a run without a model; returns its id. A run of the experiment with this content is not recorded again."""
    client, where = _ready(request)
    with _trying(f"record the run {request.run_name}", where):
        experiment = _experiment(client, request.experiment, where)
        same = f"tags.{HASH_TAG} = '{request.content_hash}'"
        found = client.search_runs([experiment], same, max_results=1)
        run = found[0] if found else _record(client, request, where)[0]
    return str(run.info.run_id)


def _ready(request: Request) -> tuple[Any, str]:
    """A client and the URI that it talks to, once everything that is to be recorded is there."""
    everything = [*request.figures, *request.tables, *request.files, *([request.pipeline] if request.pipeline else [])]
    for path in everything:
        if not path.exists():
            raise TrackingError(f"{path} is not there and cannot be recorded in MLflow; run the step that makes it.")
    where = configure()
    _probe(where)
    import mlflow

    return mlflow.MlflowClient(), where


def _probe(where: str) -> None:
    """One quick attempt, because MLflow itself tries a dead server for minutes and a dead database for 100 s."""
    with _trying("be reached", where):
        if where.startswith(("http://", "https://")):
            from mlflow.utils.credentials import get_default_host_creds
            from mlflow.utils.rest_utils import http_request

            # Any answer will do, 403 and 500 too: what comes next says more about them.
            options = {"max_retries": 0, "timeout": PROBE_SECONDS, "raise_on_status": False}
            http_request(get_default_host_creds(where), "/health", "GET", **options)
        elif "://" in where and not where.startswith(("databricks", "file")):
            import sqlalchemy

            if folder := _database_folder(where):
                folder.mkdir(parents=True, exist_ok=True)
            engine = sqlalchemy.create_engine(where)
            try:
                sqlalchemy.inspect(engine).get_table_names()
            finally:
                engine.dispose()


def _find(client: Any, request: Request) -> Any:
    """The registered version with this content, or None. Makes the registered model, so that a bad name fails early."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(request.model_name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    wanted = f"name = '{request.model_name}' and tags.{HASH_TAG} = '{request.content_hash}'"
    return max(client.search_model_versions(wanted), key=lambda found: int(found.version), default=None)


def _again(client: Any, request: Request, found: Any, where: str) -> Registration:
    """A version that another one took the alias from gets it back; one that has an alias, like champion, keeps that."""
    from mlflow.exceptions import MlflowException

    number = str(found.version)
    aliases = list(client.get_model_version(request.model_name, number).aliases)
    if not aliases:
        client.set_registered_model_alias(request.model_name, request.alias, number)
        aliases = [request.alias]
    alias = request.alias if request.alias in aliases else aliases[0]
    try:
        url = _url(client.get_run(found.run_id), where)
    except MlflowException:  # the run was deleted; its model may stay
        url = ""
    uri = f"models:/{request.model_name}@{alias}"
    return Registration(found.run_id, request.model_name, int(number), uri, url, created=False)


def _record(client: Any, request: Request, where: str) -> tuple[Any, str | None]:
    """The run and the id of the model logged in it, if there is one."""
    import mlflow

    labels = {**_context(request), "mlflow.note.content": clean(request.description)}
    # Made by the client, because start_run alone would continue an exported MLFLOW_RUN_ID.
    run = client.create_run(_experiment(client, request.experiment, where), tags=labels, run_name=request.run_name)
    with mlflow.start_run(run_id=run.info.run_id, nested=True):
        for chunk in chunks(params(request.params), 100):
            mlflow.log_params(chunk)
        log_datasets(request.datasets)
        log_files(request)
        model_id = log_pipeline(request.pipeline, _context(request)) if request.pipeline else None
        for chunk in chunks(metrics(request.metrics), 1000):
            mlflow.log_metrics(chunk, model_id=model_id)
    return run, model_id


def _context(request: Request) -> dict[str, str]:
    """The request's tags and MLflow's own, such as the user and the git remote; that one without a token in its URL."""
    from mlflow.tracking.context.registry import resolve_tags

    found = {name: clean(str(value)) for name, value in resolve_tags().items()}
    if commit := request.tags.get("git.commit"):
        # MLflow looks at the script that was started, which is a worker's if a worker runs this.
        found["mlflow.source.git.commit"] = commit
    return {**found, **tags(request)}


def _register(client: Any, request: Request, run_id: str, model_id: str | None) -> str:
    """The number of the version that was made."""
    from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

    name = request.model_name
    # The tags come with the version and not after it: a version without its hash would be registered again.
    marks = {**tags(request), "review_status": "pending"}
    about = clean(request.description)
    made = client.create_model_version(
        name, f"models:/{model_id}", run_id=run_id, tags=marks, description=about, model_id=model_id
    )
    client.set_registered_model_alias(name, request.alias, str(made.version))
    # The way back from the model to its version; MLflow's own register_model sets it too, but chatters.
    link = json.dumps([{"name": name, "version": made.version}])
    client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: link})
    return str(made.version)


def _experiment(client: Any, name: str, where: str) -> str:
    from mlflow.exceptions import MlflowException

    if (found := client.get_experiment_by_name(name)) is None:
        folder = _database_folder(where)
        place = str((folder / "mlartifacts").resolve()) if folder else None
        try:
            return str(client.create_experiment(name, artifact_location=place))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process was faster
    return str(found.experiment_id)


def _database_folder(where: str) -> Path | None:
    """Where an SQLite file lies, or None for a server."""
    name = unquote(where.removeprefix("sqlite:///").partition("?")[0])
    return Path(name).absolute().parent if where.startswith("sqlite:///") and name != ":memory:" else None


def _url(run: Any, where: str) -> str:
    if not where.startswith(("http://", "https://")):
        return ""
    return clean(f"{where.rstrip('/')}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}")


@contextmanager
def _trying(what: str, where: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        known = {"mlflow", "sqlalchemy", "botocore", "boto3", "requests", "urllib3"}
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
