"""What a run is recorded as: flat names, short texts, no secrets, and tags that lead back to code and data."""

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ._secrets import clean

HASH_TAG = "content_hash"
LONGEST = 500  # characters of a parameter or tag; the whole params.yaml is among the files


@dataclass(frozen=True)
class Request:
    """One finished run, as it is to be recorded and, if it has a pipeline, registered."""

    experiment: str
    run_name: str
    content_hash: str  # of everything that makes this version another one
    model_name: str = ""  # where it is registered, and under which alias
    alias: str = ""  # empty: a version without one, for what is not proved
    pipeline: Path | None = None  # a diffusers folder; without one there is a run and no model
    sampling: Mapping[str, Any] = field(default_factory=dict)  # steps and guidance with which it was measured
    description: str = ""  # markdown
    params: Mapping[str, Any] = field(default_factory=dict)  # nested; recorded as a.b.c
    metrics: Mapping[str, Any] = field(default_factory=dict)  # nested; what is not a number is left out
    figures: Sequence[Path] = ()  # PNG
    pictures: Sequence[Path] = ()  # PNG, of the worst inputs
    tables: Sequence[Path] = ()  # CSV
    files: Sequence[Path] = ()
    datasets: Mapping[str, str] = field(default_factory=dict)  # name -> sha256
    tags: Mapping[str, str] = field(default_factory=dict)  # of the run, the model and the version


@dataclass(frozen=True)
class Registration:
    """Where a request ended up."""

    run_id: str
    model_name: str
    version: int
    uri: str  # what mlflow.pyfunc.load_model takes
    run_url: str  # empty if there is no server that shows it
    created: bool  # False: a version with this content was already there


def lineage(root: Path) -> dict[str, str]:
    """Tags that say which commit `root` holds and where its data are; what cannot be known is left out.

    An image has neither git nor DVC: it has the same facts as variables, which infra/Dockerfile sets.
    """
    found = {}
    if commit := git(root, "rev-parse", "HEAD"):
        found["git.commit"] = commit
        if (changed := git(root, "status", "--porcelain")) is not None:
            found["git.dirty"] = "true" if changed else "false"
    elif commit := os.environ.get("TVERASE_GIT_COMMIT", ""):
        found["git.commit"] = commit
        found["git.dirty"] = os.environ.get("TVERASE_GIT_DIRTY") or "unknown"
    if remote := _dvc_remote(root) or os.environ.get("TVERASE_DVC_REMOTE", ""):
        found["dvc.remote"] = clean(remote)
    return found


def _dvc_remote(root: Path) -> str:
    """The URL of the default DVC remote of a checkout."""
    config = ConfigParser(interpolation=None)
    try:
        config.read(root / ".dvc" / "config", encoding="utf-8")
        name = config.get("core", "remote", fallback="")
        return config.get(f"'remote \"{name}\"'", "url", fallback="")
    except (ConfigParserError, UnicodeDecodeError):
        return ""


def git(root: Path, *words: str) -> str | None:
    """What git says in `root`; None if it cannot."""
    try:
        # Without the lock, a commit that someone makes meanwhile does not fail.
        command = ["git", "--no-optional-locks", "-C", str(root), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def linked(description: str, experiment: str, run: str) -> str:
    """A description whose targets `run:/NAME` and `image:/NAME` lead to files of this run, in MLflow's pages."""
    text = description.replace("(run:/", f"(#/experiments/{experiment}/runs/{run}/artifacts/")
    return re.sub(r"\(image:/([^)\s]*)\)", rf"(get-artifact?run_uuid={run}&path=\1)", text)


def tags(request: Request) -> dict[str, str]:
    """What the run, the model and its version are all marked with."""
    given = {key_of(name): text_of(value) for name, value in request.tags.items()}
    return {**given, HASH_TAG: request.content_hash}


def params(nested: Mapping[str, Any]) -> dict[str, str]:
    """Nested parameters as `a.b.c` -> text."""
    return {key: text_of(value) for key, value in _flat(nested)}


def metrics(nested: Mapping[str, Any]) -> dict[str, float]:
    """Nested numbers as `a.b.c` -> float; None and text are left out."""
    return {key: float(value) for key, value in _flat(nested) if isinstance(value, (int, float))}


def _flat(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in nested.items():
        key = f"{prefix}{key_of(name)}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{key}.")
        else:
            yield key, value


def key_of(name: object) -> str:
    """A name without the characters that MLflow refuses."""
    return re.sub(r"[^\w\-./ ]", "_", str(name))


def text_of(value: Any) -> str:
    """A value as at most `LONGEST` characters: a list of plain values as `a, b`, any other list as JSON."""
    if isinstance(value, (list, tuple)):
        simple = all(isinstance(item, (str, int, float)) for item in value)
        value = ", ".join(map(str, value)) if simple else json.dumps(value, default=str)
    text = clean("null" if value is None else str(value))
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def chunks(content: Mapping[str, Any], size: int) -> Iterator[dict[str, Any]]:
    """`content` in parts of at most `size` entries, because a server refuses longer ones."""
    keys = list(content)
    for start in range(0, len(keys), size):
        yield {key: content[key] for key in keys[start : start + size]}
