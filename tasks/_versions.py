"""Versions of a registered model: found by content, checked, made once, and never given what a person took away.

Tags of a version: `content_hash`, `verdict`, `review_status` (pending, until a person writes approved or rejected),
`alias_due` (it was made for this alias and waits for it, or another version took it), `damaged` (its files are not those
that were sent; another version has taken its place).
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tverase.files import digest_of, sha256
from tverase.storage import folder_digest

from ._records import HASH_TAG, Request, linked, tags
from ._secrets import clean

VERDICT, REVIEW, DUE, DAMAGED, SMALL = "verdict", "review_status", "alias_due", "damaged", "model_files.sha256"
PENDING = "pending"
CACHE = "__pycache__"
NOTE = "registered_model_meta"  # MLflow itself writes it beside a model that it opens


def find(client: Any, request: Request) -> Any:
    """The newest version with this content and verdict, or None. Makes the registered model: a bad name fails early."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(request.model_name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return max(_same(client, request), key=lambda found: int(found.version), default=None)


def _same(client: Any, request: Request) -> list[Any]:
    wanted = f"name = '{request.model_name}' and tags.{HASH_TAG} = '{request.content_hash}'"
    verdict = tags(request).get(VERDICT)
    found = client.search_model_versions(wanted)
    return [one for one in found if DAMAGED not in one.tags and one.tags.get(VERDICT, verdict) == verdict]


def again(client: Any, request: Request, found: Any) -> Any:
    """The version as it is now. A review outlives a run: only one that still waits for its alias gets that."""
    version = client.get_model_version(request.model_name, str(found.version))
    waits = version.tags.get(REVIEW, PENDING) == PENDING and request.alias and version.tags.get(DUE) == request.alias
    if not waits or version.aliases:
        return version
    _give(client, request, str(version.version))
    return client.get_model_version(request.model_name, str(version.version))


def register(client: Any, request: Request, run_id: str, model_id: str, replaces: Any = None) -> Any:
    """A new version. Of one that it `replaces`, because its files are damaged, it takes over review and aliases."""
    name = request.model_name
    # The tags come with the version and not after it: a version without its hash would be registered again.
    marks = {**tags(request), REVIEW: PENDING, SMALL: digest_of(_model_files(client, model_id))}
    if request.alias:
        marks[DUE] = request.alias
    old = client.get_model_version(name, str(replaces.version)) if replaces is not None else None
    if old is not None:
        kept = {key: value for key, value in old.tags.items() if key not in marks or key == REVIEW}
        marks = {**marks, **kept}
        if DUE not in old.tags:
            marks.pop(DUE, None)
    experiment = client.get_run(run_id).info.experiment_id
    made = client.create_model_version(
        name,
        f"models:/{model_id}",
        run_id=run_id,
        tags=marks,
        description=linked(clean(request.description), experiment, run_id),
        model_id=model_id,
    )
    if old is not None:
        _replace(client, name, old, str(made.version))
    # Another machine may have done the same meanwhile, which no lock of this one keeps out: the first stays.
    first = min(_same(client, request), key=lambda one: int(one.version), default=made)
    if str(first.version) != str(made.version):
        client.delete_model_version(name, str(made.version))
        return again(client, request, first)
    # The way back from the model to its version; MLflow's own register_model sets it too, but chatters.
    link = json.dumps([{"name": name, "version": made.version}])
    client.set_logged_model_tags(model_id, {"mlflow.modelVersions": link})
    return again(client, request, made)


def _give(client: Any, request: Request, number: str) -> None:
    """Set the alias; the version that has it so far waits for it from now on."""
    from mlflow.exceptions import MlflowException

    name, alias = request.model_name, request.alias
    try:
        holder = str(client.get_model_version_by_alias(name, alias).version)
    except MlflowException:
        holder = number
    if holder != number:
        client.set_model_version_tag(name, holder, DUE, alias)
    client.set_registered_model_alias(name, alias, number)
    client.delete_model_version_tag(name, number, DUE)


def _replace(client: Any, name: str, old: Any, number: str) -> None:
    """The new version stands for the damaged one, whose bytes it has as they were: under each of its aliases."""
    for alias in old.aliases:
        client.set_registered_model_alias(name, alias, number)
    client.set_model_version_tag(name, str(old.version), DAMAGED, f"replaced by version {number}")


def whole(client: Any, request: Request, version: Any) -> bool:
    """Whether the registered files are those of `request`. What a person rejected need not be whole."""
    if request.pipeline is None or version.tags.get(REVIEW, PENDING) == "rejected":
        return True
    location = _location(client, str(version.source).removeprefix("models:/"))
    base = f"artifacts/{request.pipeline.name}"
    stored = dict(_hashes(location, base)) if location else {}
    sent = {
        f"{base}/{path.relative_to(request.pipeline).as_posix()}": sha256(path)
        for path in request.pipeline.rglob("*")
        if path.is_file()
    }
    if stored != sent:
        return False
    known = version.tags.get(SMALL)
    return known is None or known == digest_of(_model_files(client, str(version.source).removeprefix("models:/")))


def pipeline_digest(client: Any, version: Any) -> str:
    """The sha256 of the registered pipeline, downloaded file by file; empty if it is gone or its loader was changed.

    It is computed as `tverase.files.sha256` does it, which leaves hidden files out. A registered pipeline has none.
    """
    model_id = str(version.source).removeprefix("models:/")
    location = _location(client, model_id)
    found = dict(_hashes(location, "artifacts")) if location else {}
    if version.tags.get(SMALL, "") != digest_of(_model_files(client, model_id)):
        return ""
    names = {path.split("/", 2)[-1]: digest for path, digest in found.items() if path.count("/") > 1}
    hidden = any(part.startswith(".") for name in names for part in name.split("/"))
    return "" if hidden or len(names) < len(found) else folder_digest(names)


def _model_files(client: Any, model_id: str) -> Mapping[str, str]:
    """The loader that is stored beside the pipeline, without the byte code that Python leaves where it is loaded."""
    location = _location(client, model_id)
    found = dict(_hashes(location, "")) if location else {}
    return {path: digest for path, digest in found.items() if path != NOTE and CACHE not in path.split("/")}


def _location(client: Any, model_id: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_logged_model(model_id).artifact_location)
    except MlflowException:  # deleted
        return ""


def _hashes(location: str, base: str) -> Iterator[tuple[str, str]]:
    """Path and sha256 of each stored file below `base`; without one, of all but the pipeline."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    store = get_artifact_repository(location)
    here = isinstance(store, LocalArtifactRepository)
    with TemporaryDirectory() as folder:
        for path in _walk(store, base):
            try:
                file = Path(store.download_artifacts(path, None if here else folder))
                yield path, sha256(file)
            except (OSError, MlflowException):
                yield path, "cannot be read"
                continue
            if not here:
                file.unlink()


def _walk(store: Any, base: str) -> Iterator[str]:
    for found in store.list_artifacts(base or None):
        if found.is_dir and (base or found.path != "artifacts"):
            yield from _walk(store, found.path)
        elif not found.is_dir:
            yield str(found.path)
