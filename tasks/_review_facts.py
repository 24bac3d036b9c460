"""The versions in MLflow that a reviewer may mean, and the evidence that is recorded with each."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from tverase.errors import ConfigError, DataError, unknown
from tverase.files import read_json, sha256

from ._database import check_tracking, trying
from ._records import HASH_TAG, text_of
from ._review_page import figures

PREFIX = "tverase-"
OPEN, FINDING = "open_findings", "finding."  # tags of a version


@contextmanager
def registry(what: str) -> Iterator[tuple[Any, str]]:
    """A client of MLflow and its URI; whatever it raises is one sentence."""
    where = check_tracking()
    from mlflow import MlflowClient

    with trying(what, where):
        yield MlflowClient(), where


def versions(client: Any, model: str = "") -> list[Any]:
    """Every version that tverase registered, of one model or of all, newest first, with its aliases."""
    asked = f"tags.{HASH_TAG} LIKE '%'" + (f" and name = '{model}'" if model else "")
    found: list[Any] = []
    token = None
    while True:
        part = client.search_model_versions(asked, page_token=token)
        found += part
        if not (token := part.token):
            break
    return sorted(found, key=lambda one: (one.creation_timestamp, int(one.version)), reverse=True)


def short(version: Any) -> str:
    """`bomb:3`, as the commands take it."""
    return f"{version.name.removeprefix(PREFIX)}:{version.version}"


def model_of(client: Any, name: str) -> str:
    """The registered model that a short or a whole name stands for."""
    known = sorted({one.name for one in versions(client)})
    if not known:
        raise ConfigError("no version is registered in this MLflow; run `tverase run`, or correct MLFLOW_TRACKING_URI.")
    if found := next((one for one in (name, f"{PREFIX}{name}") if one in known), ""):
        return found
    raise ConfigError(f"{unknown('registered model', name, (one.removeprefix(PREFIX) for one in known))}.")


def resolve(client: Any, text: str = "") -> Any:
    """The version that `bomb:3`, `bomb@candidate`, `bomb` or `models:/tverase-bomb/3` stands for; nothing: the newest."""
    if not text:
        found = versions(client)
        return client.get_model_version(found[0].name, found[0].version) if found else model_of(client, text)
    given = text.removeprefix("models:/")
    name, at, alias = given.rpartition("@")
    if at:
        return _by_alias(client, model_of(client, name), alias)
    name, number = match.groups() if (match := re.fullmatch(r"(.+)[:/](.+)", given)) else (given, "")
    model = model_of(client, name)
    known = [str(one.version) for one in versions(client, model)]
    if number and number not in known:
        listed = sorted(known, key=int)
        raise ConfigError(f"{unknown(f'version of {model}', number, listed)}.")
    return client.get_model_version(model, number or max(known, key=int))


def _by_alias(client: Any, model: str, alias: str) -> Any:
    aliases = aliases_of(client, model)
    if alias not in aliases:
        there = (
            f"{unknown(f'alias of {model}', alias, aliases)}."
            if aliases
            else f"{model} has no alias yet; name a number."
        )
        raise ConfigError(there)
    return client.get_model_version(model, aliases[alias])


def aliases_of(client: Any, model: str) -> dict[str, str]:
    """The aliases of a registered model, each with the number of its version."""
    return {alias: str(number) for alias, number in client.get_registered_model(model).aliases.items()}


def champion_tags(model: str, alias: str) -> dict[str, str]:
    """The tags of the current champion and its number as `version`; nothing if there is none."""
    from mlflow.exceptions import MlflowException

    with registry(f"look for the {alias} of {model}") as (client, _):
        try:
            version = client.get_model_version_by_alias(model, alias)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            return {}
        return {**version.tags, "version": str(version.version)}


@dataclass(frozen=True)
class Evidence:
    """What the run of a version recorded: its evaluation, steps and parameters; `problem` says what is not there."""

    summary: Mapping[str, Any] = field(default_factory=dict)  # evaluation.json
    steps: Mapping[str, Any] = field(default_factory=dict)  # of lineage.json
    params: Mapping[str, Any] = field(default_factory=dict)
    verdict: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""

    @property
    def evaluated(self) -> str:
        """The sha256 of the pipeline that was evaluated."""
        return str(self.steps.get("evaluate", {}).get("inputs", {}).get("erased", ""))

    @property
    def prompts(self) -> frozenset[str]:
        """Every prompt of the concepts with which it was made."""
        made = [one for step in self.steps.values() for one in step.get("params", {}).get("concepts", ())]
        return frozenset(text for one in made for name in PROMPTS for text in one.get(name, ()))


PROMPTS = ("names", "synonyms", "compositions", "tuning", "validating", "reporting")
RECORDED = ("evaluation.json", "verdict.json", "lineage.json", "params.yaml")


def evidence(client: Any, version: Any) -> Evidence:
    """Read what the run recorded. It is compared with the hashes in the version's tags, and with its figures."""
    from mlflow.exceptions import MlflowException

    read: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        for name in RECORDED:
            try:
                path = Path(client.download_artifacts(version.run_id, name, folder))
                digest = sha256(path)
                read[name] = yaml.safe_load(path.read_text()) if name == "params.yaml" else read_json(path)
            except (MlflowException, OSError, ValueError, DataError, yaml.YAMLError):
                return Evidence(problem=f"its run has no readable {name}")
            if version.tags.get(_tag(name)) != digest:
                return Evidence(problem=f"{name} of its run has not the hash of the tag {_tag(name)}")
    if "retain" not in read["evaluation.json"]:
        return Evidence(
            problem="its evaluation has the format of an earlier version of tverase; run `tverase run` again"
        )
    found = Evidence(read["evaluation.json"], read["lineage.json"]["steps"], read["params.yaml"], read["verdict.json"])
    return Evidence(**{**vars(found), "problem": _odd_tag(version, found)})


def _tag(name: str) -> str:
    return {"lineage.json": "lineage.sha256", "params.yaml": "params.sha256"}.get(name, f"{name}.sha256")


def _odd_tag(version: Any, found: Evidence) -> str:
    """Tags can be edited in MLflow's pages; the figures are those of the evaluation all the same."""
    expected = {**figures(found.summary).tags(), "verdict": str(found.verdict["outcome"])}
    for name, value in expected.items():
        if version.tags.get(name) != text_of(value):
            return f"the tag {name} is {version.tags.get(name, 'missing')!r}, and its evaluation says {value!r}"
    return ""


def findings(version: Any) -> list[dict[str, Any]]:
    """The prompts that a probe found to draw the concept, as they are in the tags of the version."""
    listed = sorted((key for key in version.tags if key.startswith(FINDING)), key=lambda key: (len(key), key))
    return [json.loads(version.tags[key]) for key in listed]
