"""What MLflow keeps of a finished erasure: parameters, numbers, figures, and the pipeline as a registered version.

Only this file and its neighbours _database, _versions and _artifacts talk to MLflow. They import it inside functions,
because that takes seconds.
"""

from typing import Any

from tverase.errors import TrackingError

from . import _versions
from ._artifacts import log_datasets, log_files, log_pipeline
from ._database import check_tracking, configure, database_path, locked, trying
from ._records import HASH_TAG, Registration, Request, chunks, lineage, linked, metrics, params, tags
from ._secrets import clean

__all__ = ["Registration", "Request", "check_tracking", "configure", "lineage", "record", "record_and_register"]


def record_and_register(request: Request) -> Registration:
    """Record a run and register its pipeline; content that is registered already, and whole, is not sent again.

    The version gets `request.alias`, if that is not empty. What people have decided since is left as it is.
    """
    client, where = _ready(request)
    with locked(where):
        with trying(f"look for versions of {request.model_name}", where):
            found = _versions.find(client, request)
            damaged = found if found is not None and not _versions.whole(client, request, found) else None
        if found is not None and damaged is None:
            with trying(f"set the alias {request.alias}", where):
                return _answer(client, request, _versions.again(client, request, found), where, created=False)
        with trying(f"record the run {request.run_name}", where):
            run, model_id = _record(client, request, where)
        with trying(f"register {request.model_name}", where):
            version = _versions.register(client, request, run.info.run_id, str(model_id), replaces=damaged)
            return _answer(client, request, version, where, created=str(version.run_id) == run.info.run_id)


def record(request: Request) -> tuple[str, str]:
    """Record a run without a model, once for each content; returns its id, and its page if a server shows it."""
    client, where = _ready(request)
    with locked(where), trying(f"record the run {request.run_name}", where):
        experiment = _experiment(client, request.experiment, where)
        same = f"tags.{HASH_TAG} = '{request.content_hash}'"
        found = client.search_runs([experiment], same, max_results=1)
        run = found[0] if found else _record(client, request, where)[0]
    return str(run.info.run_id), _url(run, where)


def _ready(request: Request) -> tuple[Any, str]:
    """A client and the URI that it talks to, once everything that is to be recorded is there."""
    files = [*request.figures, *request.pictures, *request.tables, *request.files]
    everything = [*files, *([request.pipeline] if request.pipeline else [])]
    for path in everything:
        if not path.exists():
            raise TrackingError(f"{path} is not there and cannot be recorded in MLflow; run the step that makes it.")
    where = check_tracking()
    import mlflow

    return mlflow.MlflowClient(), where


def _answer(client: Any, request: Request, version: Any, where: str, *, created: bool) -> Registration:
    """Where it ended up, by an alias if the version has one."""
    from mlflow.exceptions import MlflowException

    name, number, aliases = request.model_name, int(version.version), list(version.aliases)
    alias = request.alias if request.alias in aliases else next(iter(aliases), "")
    try:
        url = _url(client.get_run(version.run_id), where)
    except MlflowException:  # the run was deleted; its model may stay
        url = ""
    uri = f"models:/{name}@{alias}" if alias else f"models:/{name}/{number}"
    return Registration(str(version.run_id), name, number, uri, url, created=created)


def _record(client: Any, request: Request, where: str) -> tuple[Any, str | None]:
    """The run and the id of the model logged in it, if there is one."""
    import mlflow

    labels, experiment = _context(request), _experiment(client, request.experiment, where)
    # Made by the client, because start_run alone would continue an exported MLFLOW_RUN_ID.
    run = client.create_run(experiment, tags=labels, run_name=request.run_name)
    note = linked(clean(request.description), experiment, run.info.run_id)
    client.set_tag(run.info.run_id, "mlflow.note.content", note)
    with mlflow.start_run(run_id=run.info.run_id, nested=True):
        for chunk in chunks(params(request.params), 100):
            mlflow.log_params(chunk)
        log_datasets(request.datasets)
        log_files(request)
        model_id = log_pipeline(request.pipeline, _context(request), request.sampling) if request.pipeline else None
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


def _experiment(client: Any, name: str, where: str) -> str:
    from mlflow.exceptions import MlflowException

    if (found := client.get_experiment_by_name(name)) is None:
        path = database_path(where)
        place = str((path.parent / "mlartifacts").resolve()) if path else None
        try:
            return str(client.create_experiment(name, artifact_location=place))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # a process on another machine was faster
    return str(found.experiment_id)


def _url(run: Any, where: str) -> str:
    if not where.startswith(("http://", "https://")):
        return ""
    return clean(f"{where.rstrip('/')}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}")
