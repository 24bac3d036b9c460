"""Tell a Prefect server what prefect.yaml and infra/ say: `python -m flows.deploy [--pool docker]`.

Pools, concurrency limits, deployments, then automations; each is made or changed, so that it can be run again at any time.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from flows import _server
from tasks._quiet import plainly
from tverase.concepts import slug
from tverase.errors import ConfigError, NetworkError
from tverase.files import write_text
from tverase.yamlfile import read_yaml

FILE = Path("prefect.yaml")
EACH = "each_concept"
CONTAINERS = ("docker", "kubernetes")  # whose image has the code in /app
IN_IMAGE = [{"prefect.deployments.steps.set_working_directory": {"directory": "/app"}}]


def main(arguments: Sequence[str]) -> None:
    """Deploy to PREFECT_API_URL, or to the server of this project."""
    parser = argparse.ArgumentParser(prog="python -m flows.deploy", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--pool", default=os.environ.get("TVERASE_POOL") or "process", help="process, docker, kubernetes"
    )
    parser.add_argument("--port", type=int, default=4200, help="of the server on this machine, if it is another's")
    given = parser.parse_args(arguments)
    from flows import _pools

    pool = _pools.pool(given.pool)
    _pools.template(pool)
    content = expanded(read_yaml(FILE), pool)
    url = os.environ.get(_server.URL) or _server.served(_server.home()) or f"http://127.0.0.1:{given.port}/api"
    _server.as_client(url)
    _server.probe(url)
    for line in _deployed(content, pool):
        sys.stdout.write(f"{line}\n")


def expanded(content: Mapping[str, Any], pool: Mapping[str, Any]) -> dict[str, Any]:
    """prefect.yaml with one more deployment a concept, all of them for one pool."""
    concepts = (content.get("definitions") or {}).get("concepts") or []
    if not isinstance(concepts, list) or not all(isinstance(name, str) and name for name in concepts):
        raise ConfigError(f"{FILE}: definitions.concepts must be a list of names, as in [bomb, skull].")
    made: list[dict[str, Any]] = []
    for deployment in content.get("deployments") or []:
        made.append(_in_pool(deployment, pool))
        made += [_of_concept(_in_pool(deployment, pool), name) for name in (concepts if deployment.get(EACH) else ())]
    return {key: value for key, value in content.items() if key != "definitions"} | {"deployments": made}


def _in_pool(deployment: Mapping[str, Any], pool: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: deepcopy(value) for key, value in deployment.items() if key != EACH}
    found["work_pool"] = {**(found.get("work_pool") or {}), "name": pool["name"]}
    if pool["type"] in CONTAINERS:
        found["pull"] = deepcopy(IN_IMAGE)
    return found


def _of_concept(deployment: dict[str, Any], concept: str) -> dict[str, Any]:
    """The same for one concept, whatever params.yaml names."""
    return {
        **deployment,
        "name": f"{deployment['name']}-{slug(concept)}",
        "description": f"{deployment.get('description', '')} Concept: {concept}.",
        "parameters": {**(deployment.get("parameters") or {}), "concepts": [concept]},
        "tags": [*(deployment.get("tags") or []), f"concept:{slug(concept)}"],
    }


def _deployed(content: Mapping[str, Any], pool: Mapping[str, Any]) -> Iterator[str]:
    """Do it, and say what was done."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    from flows import _automations, _pools
    from flows._limits import SLOTS, slots

    try:
        with get_client(sync_client=True) as client:
            _pools.apply(client, pool)
            yield f"pool: {pool['name']} ({pool['type']})"
            for name in SLOTS:
                client.upsert_global_concurrency_limit_by_name(name, slots(name))
            yield f"limits: {', '.join(f'{name} {slots(name)}' for name in SLOTS)}"
            _deploy(content)
            yield f"deployments: {', '.join(one['name'] for one in content['deployments'])}"
            if _automations.FILE.exists():
                yield from _automations.apply(client, _automations.read())
    except PrefectHTTPStatusError as error:
        said = str(error).splitlines()[0].partition(" for url")[0]
        raise NetworkError(
            f"the Prefect server refuses this deployment ({said}); check its version and password."
        ) from error


def _deploy(content: Mapping[str, Any]) -> None:
    """By Prefect's own command, which knows how to find flows and their forms."""
    path = _server.home() / "deployments.yaml"
    write_text(path, yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True))
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise ConfigError(f"Prefect does not take {FILE}: {lines[-1] if lines else 'no word from it'}")


if __name__ == "__main__":
    with plainly():
        main(sys.argv[1:])
