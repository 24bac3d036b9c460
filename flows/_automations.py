"""Automations from infra/automations.yaml: checked, and made or changed by name."""

import os
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tverase.errors import ConfigError

FILE = Path("infra/automations.yaml")
PREFIX, NOTIFY = "tverase: ", "TVERASE_NOTIFY"
BODY = "{{ flow_run.name }} is {{ flow_run.state.name }}: {{ flow_run.state.message }}"


def read(path: Path = FILE) -> list[dict[str, Any]]:
    """The entries of the file; each needs our prefix, by which those that are gone are found."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML ({str(error).splitlines()[0]}); correct it.") from error
    if not isinstance(found, list) or not all(isinstance(one, dict) and "name" in one for one in found):
        raise ConfigError(f"{path} must be a list of automations, each with a name.")
    names = [str(one["name"]) for one in found]
    for name in names:
        if not name.startswith(PREFIX) or names.count(name) > 1:
            raise ConfigError(f"{path}: the name {name!r} must begin with {PREFIX!r} and be there once.")
    return found


def apply(client: Any, entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Make or change them all, and delete ours that are not among them; returns what was done in words."""
    deployments = {f"{flow}/{one.name}": one.id for one, flow in _deployments(client)}
    wanted = {str(one["name"]): _checked(one, deployments, _block(client)) for one in entries}
    there = {one.name: one for one in client.read_automations() if one.name.startswith(PREFIX)}
    for name, automation in wanted.items():
        if name in there:
            automation.enabled = there[name].enabled  # a person may have paused it
            client.update_automation(there[name].id, automation)
        else:
            client.create_automation(automation)
    for name in there.keys() - wanted.keys():
        client.delete_automation(there[name].id)
    told = os.environ.get(NOTIFY) or f"nobody; {NOTIFY} names a notification block"
    return [f"automations: {', '.join(name.removeprefix(PREFIX) for name in wanted)}", f"notified: {told}"]


def _deployments(client: Any) -> Iterator[tuple[Any, str]]:
    flows = {flow.id: flow.name for flow in client.read_flows()}
    for one in client.read_deployments():
        yield one, flows.get(one.flow_id, "")


def _block(client: Any) -> Any:
    """The id of the block that TVERASE_NOTIFY names, or None."""
    from prefect.exceptions import ObjectNotFound

    name = os.environ.get(NOTIFY, "")
    if not name:
        return None
    kind, _, block = name.partition("/")
    try:
        return client.read_block_document_by_name(block, kind).id
    except ObjectNotFound as error:
        raise ConfigError(
            f"{NOTIFY}={name!r} is no block of this server; expected TYPE/NAME, as in slack-webhook/ops."
        ) from error


def _checked(entry: Mapping[str, Any], deployments: Mapping[str, Any], block: Any) -> Any:
    """The automation as Prefect has it."""
    from prefect.automations import AutomationCore

    actions = [done for action in entry.get("actions", ()) for done in _actions(action, deployments, block)]
    try:
        return AutomationCore.model_validate({**entry, "actions": actions or [{"type": "do-nothing"}]})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"the automation {entry['name']!r} is not valid at {where}: {first['msg']}.") from error


def _actions(action: Mapping[str, Any], deployments: Mapping[str, Any], block: Any) -> Iterator[dict[str, Any]]:
    """Our two actions in Prefect's words; others as they are."""
    if action.get("type") == "notify":
        if block is not None:
            said = {"subject": action.get("subject", "tverase"), "body": action.get("body", BODY)}
            yield {"type": "send-notification", "block_document_id": str(block), **said}
    elif action.get("type") == "pause":
        for name, one in deployments.items():
            if fnmatchcase(name, str(action.get("deployments", ""))):
                yield {"type": "pause-deployment", "source": "selected", "deployment_id": str(one)}
    else:
        yield dict(action)
