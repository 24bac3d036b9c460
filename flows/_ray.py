"""Ray as the runner of a flow's tasks: the extra `ray`, on this machine or on a cluster that is there."""

import os
from importlib.util import find_spec
from typing import Any

from tverase.errors import ConfigError, NetworkError


def require_installed() -> None:
    """Refuse to go on without the extra."""
    if not all(find_spec(name) for name in ("ray", "prefect_ray")):
        raise ConfigError(
            "--runner ray needs the extra `ray`, which is not installed; run `pip install 'tverase[ray]'`, or use --runner threads."
        )


def require_ray(address: str, workers: int, gpus: float) -> Any:
    """A task runner on Ray; a sentence if the extra is not installed, the cluster does not answer, or it has no such GPU.

    A task that asks for a GPU that no node has would wait for ever, so the resources are looked at first.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    require_installed()
    import ray
    from prefect_ray import RayTaskRunner

    more: dict[str, Any] = {} if address else {"num_cpus": workers or os.cpu_count() or 1, "include_dashboard": False}
    if not ray.is_initialized():
        try:
            ray.init(address=address or None, namespace="prefect", logging_level="ERROR", log_to_driver=False, **more)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise NetworkError(
                f"no Ray cluster answers at {address or 'this machine'} ({str(error).splitlines()[0]}); start it with `ray start "
                "--head`, or leave --address out."
            ) from error
    there = float(ray.cluster_resources().get("GPU", 0))
    if gpus > there:
        ray.shutdown()
        raise ConfigError(
            f"each part asks for {gpus:g} GPU, and the Ray cluster has {there:g}; start nodes with GPUs, or leave --gpus out."
        )
    return RayTaskRunner(address=address or None)
