"""MLflow's server behind the guard: its own checks leave /graphql open to pages of other origins.

`mlflow server` does everything else. It serves another application if a distribution names one under `mlflow.app`.
Ours is named here, because a checkout or an image need not be installed.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, DistributionFinder
from pathlib import Path
from typing import Any

from ._database import check_tracking, configure
from ._guard import App, Guard, follow, origins

HERE = "sqlite:///mlflow.db"
NAMES = "MLFLOW_SERVER_ALLOWED_HOSTS"  # `mlflow server` sets it from --allowed-hosts, and its workers inherit it

TEXTS = {
    "METADATA": "Metadata-Version: 2.1\nName: tverase-mlflow-app\nVersion: 1\n",
    "entry_points.txt": "[mlflow.app]\ntverase = tasks._mlflow_app:create\n",
}


class _Plugin(Distribution):
    """What would be in the metadata of an installed plug-in of MLflow."""

    def read_text(self, filename: str) -> str | None:
        return TEXTS.get(filename)

    def locate_file(self, path: Any) -> Path:
        return Path(path)


class _Finder(DistributionFinder):
    def find_spec(self, *_: Any, **__: Any) -> None:
        """Nothing is imported through this finder."""

    def find_distributions(self, context: Any = None) -> Iterator[Distribution]:
        if context is None or context.name in (None, "tverase-mlflow-app"):
            yield _Plugin()


def serve(host: str, port: int, workers: int, store: str, artifacts: str, names: Iterable[str]) -> None:
    """Run `mlflow server` until it is told to stop."""
    names = tuple(names)
    if store == HERE and not os.environ.get("MLFLOW_TRACKING_URI"):
        check_tracking()  # the database of the runs here: made as a whole, or refused in one sentence
    else:
        configure()
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    sys.meta_path.append(_Finder())
    from mlflow.cli import cli

    given = {
        "app-name": "tverase",
        "host": host,
        "port": str(port),
        "workers": str(workers),
        "backend-store-uri": store,
        "artifacts-destination": artifacts,
        "allowed-hosts": ",".join(names),
        "cors-allowed-origins": ",".join(origins(names)),
    }
    cli.main(["server", *(f"--{name}={value}" for name, value in given.items())], "mlflow", standalone_mode=False)


def create() -> App:
    """The application, for the processes that `mlflow server` starts."""
    follow(os.getppid())
    from mlflow.server.fastapi_app import app

    return Guard(app, os.environ[NAMES].split(","))
