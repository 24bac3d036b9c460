"""From a registered version back to the data: every link with its hashes, each compared where that is possible."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import yaml

from tverase.config import Params
from tverase.errors import DataError, TveraseError
from tverase.files import digest_of, read_json, sha256
from tverase.storage import folder_digest
from tverase.stores import VARIABLE, open_store

from ._all import STEPS
from ._record import Record
from ._records import HASH_TAG, git
from ._review_facts import aliases_of, registry, resolve, short
from ._step import Step
from ._versions import pipeline_digest

PUBLISHED = "published"  # the tag with the digest in a store; flows/release.py sets it
State = Literal["same", "wrong", "unchecked"]
FILES = {  # of the run, and the tag of the version with the sha256
    "params.yaml": "params.sha256",
    "lineage.json": "lineage.sha256",
    "evaluation.json": "evaluation.json.sha256",
    "verdict.json": "verdict.json.sha256",
    "dvc.lock": "dvc.lock.sha256",
}


@dataclass(frozen=True)
class Link:
    """A part of the chain. about: `version`, `run`, `step finetune`, ... digest: empty if it has none."""

    about: str
    name: str
    says: str
    state: State = "unchecked"
    digest: str = ""


def chain(text: str) -> list[Link]:
    """The links of the version that `bomb:3`, `bomb@champion` or `bomb` stands for, from the version to the data."""
    with registry(f"follow {text or 'the newest version'}") as (client, where), TemporaryDirectory() as folder:
        version = resolve(client, text)
        found = [*_version(client, version), *_run(client, version, where, Path(folder))]
        steps, params = _recorded(Path(folder))
        erased = _made_by(steps, "erase", "/erased")
        links = [*found, *_content(version, steps), _pipeline(client, version, erased), *_published(version, erased)]
    return [*links, *_code(version, params, steps), *_steps(steps, params)]


def wrong(links: list[Link]) -> list[Link]:
    """The links that do not match."""
    return [link for link in links if link.state == "wrong"]


def _compared(about: str, name: str, expected: str, found: str, place: str) -> Link:
    if expected == found:
        return Link(about, name, place, "same", expected)
    says = f"{place} has {found[:12] or 'nothing readable'}, expected {expected[:12] or 'nothing'}"
    return Link(about, name, says, "wrong", expected)


def _version(client: Any, version: Any) -> Iterator[Link]:
    tags = version.tags
    aliases = [a for a, number in aliases_of(client, version.name).items() if number == str(version.version)]
    says = f"verdict {tags.get('verdict', 'unknown')}, review {tags.get('review_status', 'unknown')}"
    yield Link("version", short(version), says + (f", alias {', '.join(sorted(aliases))}" if aliases else ""))


def _run(client: Any, version: Any, where: str, folder: Path) -> Iterator[Link]:
    """The MLflow run, its files against the tags of the version, and the flow run that made it."""
    from mlflow.exceptions import MlflowException

    yield Link("run", str(version.run_id), f"in {where.partition('?')[0].rpartition('@')[2]}")
    for name, tag in FILES.items():
        expected = version.tags.get(tag)
        if expected is None:
            continue
        try:
            found = sha256(Path(client.download_artifacts(version.run_id, name, str(folder))))
        except (MlflowException, OSError):
            found = ""
        yield _compared("run", name, expected, found, "the file of the run")
    if flow := version.tags.get("prefect.flow_run_id"):
        yield Link("flow run", flow, "in Prefect")


def _recorded(folder: Path) -> tuple[dict[str, Any], Params | None]:
    """The steps and the parameters that the run recorded."""
    try:
        steps = read_json(folder / "lineage.json")["steps"]
        if not isinstance(steps, dict):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError("the run of this version has no readable lineage.json; register it again.") from error
    try:
        return steps, Params.parse(yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, yaml.YAMLError, TveraseError):
        return steps, None  # of another version of tverase; paths are then not known


def _made_by(steps: Mapping[str, Any], step: str, end: str) -> str:
    outputs = steps.get(step, {}).get("outputs", {})
    return next((str(digest) for path, digest in outputs.items() if path.endswith(end)), "")


def _content(version: Any, steps: Mapping[str, Any]) -> Iterator[Link]:
    """The hash by which the registry knows the content, computed from the steps."""
    pairs = {"erased": _made_by(steps, "erase", "/erased"), "evaluation": _made_by(steps, "evaluate", "/evaluation")}
    place = "the erased pipeline and its evaluation"
    yield _compared("version", HASH_TAG, str(version.tags.get(HASH_TAG, "")), digest_of(pairs), place)


def _pipeline(client: Any, version: Any, erased: str) -> Link:
    return _compared("version", "pipeline", erased, pipeline_digest(client, version), "the registered folder")


def _published(version: Any, erased: str) -> Iterator[Link]:
    """The published folder, where TVERASE_STORE has it."""
    digest = version.tags.get(PUBLISHED)
    if not digest:
        return
    if not os.environ.get(VARIABLE):
        yield Link("published", digest[:12], f"{VARIABLE} is not set", digest=digest)
        return
    store = open_store()
    files = store.files(digest) or {}
    inside = {n.removeprefix("erased/"): entry[0] for n, entry in files.items() if n.startswith("erased/")}
    yield _compared("published", digest[:12], erased, folder_digest(inside) if inside else "", store.place)


def _code(version: Any, params: Params | None, steps: Mapping[str, Any]) -> Iterator[Link]:
    """The commit, and whether this checkout has it and its source."""
    tags = version.tags
    commit, root = tags.get("git.commit", ""), Path.cwd()
    if not commit:
        yield Link("git", "unknown", "the run had no git checkout and no TVERASE_GIT_COMMIT")
    else:
        here = git(root, "cat-file", "-t", commit) == "commit"
        dirty = {"true": ", with changes that are not in it", "unknown": ""}.get(tags.get("git.dirty", ""), "")
        yield Link("git", commit[:12], f"{'in' if here else 'not in'} this checkout{dirty}", digest=commit)
    if remote := tags.get("dvc.remote"):
        yield Link("dvc", remote, "the remote with the data")
    if params is not None:
        known = {step.name: step for step in STEPS}
        same = [n for n in steps if n in known and _quietly(known[n].code_key, params) == steps[n].get("code")]
        yield Link("git", "source", f"{len(same)} of {len(steps)} steps have the source of this checkout")


def _quietly(call: Any, *given: Any) -> Any:
    try:
        return call(*given)
    except (TveraseError, OSError):
        return None


def _steps(steps: Mapping[str, Any], params: Params | None) -> Iterator[Link]:
    """Each step with its key, the newest first; its outputs here, and its inputs by who made them."""
    known = {step.name: step for step in STEPS}
    makers = {str(digest): name for name, step in steps.items() for digest in step.get("outputs", {}).values()}
    for name in sorted(steps, key=lambda n: list(known).index(n) if n in known else -1, reverse=True):
        step, about = steps[name], f"step {name}"
        yield Link(about, "key", f"{step.get('seconds', 0):.0f} s", digest=str(step.get("key", "")))
        for path, digest in step.get("outputs", {}).items():
            yield _output(about, path, str(digest), known.get(name), params, str(step.get("key", "")))
        paths = _paths(known.get(name), params)
        for label, digest in step.get("inputs", {}).items():
            yield _input(about, label, str(digest), makers, paths.get(label), steps)


def _paths(step: Step | None, params: Params | None) -> dict[str, Path]:
    """Where the inputs of a step are in this folder; nothing is fetched for it."""
    if step is None or params is None or not Path(params.model).expanduser().is_dir():
        return {}
    return _quietly(step.inputs, params) or {}


def _output(about: str, path: str, digest: str, step: Step | None, params: Params | None, key: str) -> Link:
    place = Path(path)
    if not place.exists():
        return Link(about, f"output {path}", "not here", digest=digest)
    if (found := sha256(place)) == digest:
        return Link(about, f"output {path}", "here", "same", digest)
    last = Record.read(step.record_path(params)) if step is not None and params is not None else None
    if last is not None and last.key != key:
        return Link(about, f"output {path}", "another result is here now", digest=digest)
    return Link(about, f"output {path}", f"here is {found[:12]}, expected {digest[:12]}", "wrong", digest)


def _input(
    about: str, label: str, digest: str, makers: Mapping[str, str], path: Path | None, steps: Mapping[str, Any]
) -> Link:
    name = f"input {label}"
    if digest in makers:
        return Link(about, name, f"made by {makers[digest]}", "same", digest)
    outputs = {out: (maker, str(d)) for maker, step in steps.items() for out, d in step.get("outputs", {}).items()}
    if path is not None and path.as_posix() in outputs:
        maker, made = outputs[path.as_posix()]
        return Link(about, name, f"{maker} made {made[:12]}, and the step read {digest[:12]}", "wrong", digest)
    if path is None or not path.exists():
        return Link(about, name, "data that is not here", digest=digest)
    if (found := sha256(path)) != digest and path.parts[0] == "outputs":  # a record, which each execution writes anew
        return Link(about, name, "another result is here now", digest=digest)
    return _compared(about, name, digest, found, f"data in {path}")
