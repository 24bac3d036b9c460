"""What a report says of judges and packages."""

from collections.abc import Mapping
from importlib import metadata
from typing import Any

PACKAGES = ("tverase", "torch", "diffusers", "transformers", "prefect", "dvc", "mlflow")


def judge_facts(about: Mapping[str, Any]) -> dict[str, Any]:
    """Version, accuracy and threshold of each judge, and the disagreement of a panel; a single judge is called `judge`."""
    parts = about.get("judges") or ({"judge": about} if about else {})
    found: dict[str, Any] = {}
    for name, one in parts.items():
        more = {"disagreement": one["disagreement"]} if "disagreement" in one else {}
        found[name] = {"version": one["name"], "accuracy": one["accuracy"], "threshold": one["threshold"], **more}
        found |= {f"{name}, {each['name']}": judge_facts(each)["judge"] for each in one.get("members", ())}
    return found


def versions() -> dict[str, str]:
    """What computed it: packages, and the number of threads."""
    import torch

    return {name: _version(name) for name in PACKAGES} | {"threads": str(torch.get_num_threads())}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
