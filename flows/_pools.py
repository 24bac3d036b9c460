"""Work pools from infra/pools: what Prefect's worker types have, with our defaults, checked before a server sees them."""

import json
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tverase.errors import ConfigError, unknown
from tverase.yamlfile import read_yaml

FOLDER = Path("infra/pools")
PROCESS = {"name": "tverase-local", "type": "process"}
KINDS = ("process", "docker", "kubernetes")
# Prefect ships the templates of its worker types, also of those whose packages are not installed.
TYPES = "server/api/collections_data/views/aggregate-worker-metadata.json"
KEYS = {"name", "type", "variables", "more_variables", "job_configuration"}
PLACE = re.compile(r"\{\{\s*([\w.\-]+)\s*\}\}")


def pool(kind: str) -> dict[str, Any]:
    """What infra/pools says of a kind; the process pool needs no file."""
    if kind not in KINDS:
        raise ConfigError(f"{unknown('work pool', kind, KINDS)}.")
    path = FOLDER / f"{kind}.yaml"
    if not path.exists():
        if kind == "process":
            return dict(PROCESS)
        raise ConfigError(f"{path} is not there; copy it from tverase's repository, or use --pool process.")
    found = read_yaml(path)
    if odd := found.keys() - KEYS:
        raise ConfigError(f"{path}: {unknown('key', min(odd), KEYS)}.")
    if found.get("type") != kind or not isinstance(found.get("name"), str):
        raise ConfigError(f"{path} needs a `name`, and `type: {kind}`.")
    return found


def worker_type(kind: str) -> dict[str, Any]:
    """The base job template of Prefect's own worker type."""
    spec = find_spec("prefect")
    root = next(iter(spec.submodule_search_locations or []), "") if spec else ""
    packages = json.loads((Path(root) / TYPES).read_text(encoding="utf-8"))
    found: dict[str, Any] = next(
        worker["default_base_job_configuration"]
        for workers in packages.values()
        for worker in workers.values()
        if worker["type"] == kind
    )
    return found


def template(given: Mapping[str, Any]) -> dict[str, Any]:
    """The base job template of a pool: Prefect's, with the file's defaults, variables and job configuration."""
    made = deepcopy(worker_type(given["type"]))
    properties = made["variables"]["properties"]
    properties |= given.get("more_variables") or {}
    made["job_configuration"] |= given.get("job_configuration") or {}
    for name, value in (given.get("variables") or {}).items():
        if name not in properties:
            raise ConfigError(f"pool {given['name']}: {unknown('variable', name, properties)}.")
        properties[name]["default"] = value
    _check(given["name"], made)
    return made


def _check(name: str, made: Mapping[str, Any]) -> None:
    """Each default is what its variable allows, and each place in the configuration names a variable."""
    from jsonschema import Draft202012Validator

    variables = made["variables"]
    for variable, schema in variables["properties"].items():
        if "default" not in schema or schema["default"] is None:
            continue
        rules = Draft202012Validator({**schema, "definitions": variables.get("definitions", {})})
        if problem := next(rules.iter_errors(schema["default"]), None):
            raise ConfigError(f"pool {name}: {variable} has a wrong default: {problem.message}.")
    for place in _places(made["job_configuration"]):
        if place not in variables["properties"]:
            raise ConfigError(f"pool {name}: {unknown('variable', place, variables['properties'])}.")


def _places(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from PLACE.findall(value)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _places(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _places(inner)


def apply(client: Any, given: Mapping[str, Any]) -> None:
    """Make the pool, or change its template."""
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound

    made = template(given)
    try:
        there = client.read_work_pool(given["name"])
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=given["name"], type=given["type"], base_job_template=made))
        return
    if there.type != given["type"]:
        raise ConfigError(
            f"the work pool {given['name']} is of the type {there.type}, expected {given['type']}; delete it first."
        )
    client.update_work_pool(given["name"], WorkPoolUpdate(base_job_template=made))
