"""The version that an alias names, with its files: downloaded, compared with what was evaluated, and ready to draw."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tverase.config import Params
from tverase.errors import DataError
from tverase.files import sha256

from ._review_facts import Evidence, evidence, registry, short

PIPELINE = "artifacts/erased"  # below the model's artifacts


@dataclass(frozen=True)
class Champion:
    """A registered version, what its run recorded, and the folder of its pipeline."""

    version: Any  # of MLflow
    proof: Evidence
    pipeline: Path
    digest: str  # sha256 of the pipeline

    @property
    def name(self) -> str:
        """`bomb:3`."""
        return short(self.version)

    def params(self, now: Params) -> Params:
        """The parameters that it was made with; the machine, the policy and the monitor are those of now."""
        mine = ("runtime", "review", "monitor")
        return Params.parse({**self.proof.params, **now.model_dump(mode="json", include=set(mine))}, self.name)


def model_name(params: Params) -> str:
    """The registered model of a run."""
    return params.register_.model or f"tverase-{params.name}"


def champion(params: Params, scratch: Path) -> Champion | None:
    """The version with the alias `review.alias`, or None; a `DataError` if its files are not those that were evaluated."""
    from mlflow.exceptions import MlflowException

    model, alias = model_name(params), params.review.alias
    with registry(f"open the {alias} of {model}") as (client, _):
        try:
            version = client.get_model_version_by_alias(model, alias)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            return None
        return opened(client, client.get_model_version(model, str(version.version)), scratch)


def opened(client: Any, version: Any, scratch: Path) -> Champion:
    """A version with its files, which are compared with the hashes in its records."""
    proof = evidence(client, version)
    if proof.problem:
        raise DataError(f"{short(version)} cannot be trusted: {proof.problem}; promote another version.")
    folder = pipeline_folder(client, version, scratch)
    digest = sha256(folder)
    if digest != proof.evaluated:
        raise DataError(
            f"the files of {short(version)} ({digest[:12]}) are not those that were evaluated ({proof.evaluated[:12]}); "
            "run `tverase run`, which registers them again."
        )
    return Champion(version, proof, folder, digest)


def pipeline_folder(client: Any, version: Any, scratch: Path) -> Path:
    """The registered pipeline: where MLflow keeps it, if that is on this machine, or else downloaded to `scratch`."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    model_id = str(version.source).removeprefix("models:/")
    store = get_artifact_repository(str(client.get_logged_model(model_id).artifact_location))
    here = isinstance(store, LocalArtifactRepository)
    return Path(store.download_artifacts(PIPELINE, None if here else str(scratch)))


def mark(version: Any, marks: dict[str, str]) -> None:
    """Set tags of a version."""
    with registry(f"mark {short(version)}") as (client, _):
        for name, value in marks.items():
            client.set_model_version_tag(version.name, str(version.version), name, value)
