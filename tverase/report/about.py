"""What a report says of judges and packages."""

from collections.abc import Mapping
from importlib import metadata
from typing import Any

PACKAGES = ("tverase", "torch", "diffusers", "transformers", "prefect", "dvc", "mlflow")


def judge_facts(about: Mapping[str, Any]) -> dict[str, Any]:
    """Version, accuracy and threshold of each judge, by its part; a judge that has no parts is called `judge`."""
    parts = about.get("judges") or ({"judge": about} if about else {})
    return {
        name: {"version": one["name"], **{k: one[k] for k in ("accuracy", "threshold")}} for name, one in parts.items()
    }


def versions() -> dict[str, str]:
    """What computed it: packages, and the number of threads."""
    import torch

    return {name: _version(name) for name in PACKAGES} | {"threads": str(torch.get_num_threads())}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
