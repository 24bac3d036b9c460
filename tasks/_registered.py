"""Whether a folder of outputs is a version of the registry, before it is published under its number."""

from tverase.errors import ConfigError, NotProved

from ._database import check_tracking, trying
from ._records import HASH_TAG
from ._versions import DAMAGED, REVIEW


def require_version(content_hash: str, number: str) -> None:
    """Raise an error unless version `number` of a registered model has this content, and no reviewer rejected it."""
    where = check_tracking()
    from mlflow import MlflowClient

    with trying(f"look for version {number}", where):
        found = MlflowClient().search_model_versions(f"tags.{HASH_TAG} = '{content_hash}'")
    reviews = {str(one.version): one.tags.get(REVIEW) for one in found if DAMAGED not in one.tags}
    if number not in reviews:
        are = f"they are version {', '.join(sorted(reviews, key=int))}" if reviews else "they are not registered"
        raise ConfigError(f"these outputs are not version {number} in MLflow: {are}.")
    if reviews[number] == "rejected":
        raise NotProved(f"a reviewer rejected version {number}, so it is not published.")
