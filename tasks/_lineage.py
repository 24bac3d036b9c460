"""What made a result, from the run's own records and never from what lies in the checkout: two files and their tags."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tverase.config import Params
from tverase.files import digest_of, sha256, write_json, write_text

from ._locks import STATE
from ._record import Record
from ._records import lineage
from ._secrets import cleaned


@dataclass(frozen=True)
class Origin:
    """Tags for MLflow, and the files that they are the hashes of."""

    tags: dict[str, str]
    files: list[Path]


def origin(params: Params, home: str, records: Mapping[str, Record], locks: Sequence[Path]) -> Origin:
    """params.yaml as it was used, lineage.json of the steps, and those DVC locks that describe just these outputs."""
    folder = STATE / "lineage" / home
    settings, steps = folder / "params.yaml", folder / "lineage.json"
    write_text(settings, yaml.safe_dump(resolved(params), sort_keys=False, allow_unicode=True))
    commit = lineage(Path.cwd())
    content = {
        **commit,
        "params.sha256": sha256(settings),
        "steps": {name: _described(record) for name, record in records.items()},
    }
    write_json(steps, content)
    made = {path: digest for record in records.values() for path, digest in record.outputs.items()}
    mine = [lock for lock in locks if describes(lock, made)]
    tags = {**commit, "params.sha256": sha256(settings), "lineage.sha256": sha256(steps)}
    tags |= {f"{lock.name}.sha256": sha256(lock) for lock in mine}
    return Origin(tags, [settings, steps, *mine])


def resolved(params: Params) -> dict[str, Any]:
    """Every parameter of this run with its value, without passwords."""
    content: dict[str, Any] = cleaned(params.model_dump(mode="json", by_alias=True))
    return content


def _described(record: Record) -> dict[str, Any]:
    return {
        "key": record.key,
        "code": digest_of(record.code),
        "params": cleaned(record.params),
        "inputs": record.inputs,
        "outputs": record.outputs,
        "seconds": record.seconds,
        "evaluations": record.evaluations,
    }


def describes(lock: Path, outputs: Mapping[str, str]) -> bool:
    """Whether a dvc.lock names some of these outputs, and each that it names with the bytes that are there now."""
    try:
        stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"].values()
        named = {
            (lock.parent / out["path"]).as_posix(): out["md5"].removesuffix(".dir")
            for stage in stages
            for out in stage.get("outs", ())
            if "md5" in out
        }
    except (OSError, ValueError, yaml.YAMLError, AttributeError, KeyError, TypeError):
        return False
    known = {name: md5 for name, md5 in _plain(named) if name in outputs}
    return bool(known) and all(_dvc_md5(Path(name)) == md5 for name, md5 in known.items())


def _plain(named: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Paths as the records have them: `digits/../outputs/x` is `outputs/x`."""
    here = Path.cwd()
    for name, md5 in named.items():
        path = Path(here, name).resolve()
        yield (path.relative_to(here).as_posix() if path.is_relative_to(here) else name), md5


def _dvc_md5(path: Path) -> str:
    """As DVC computes it: of a folder, that of the list of its files with theirs."""
    if not path.is_dir():
        return _md5(path) if path.is_file() else ""
    files = sorted(item.relative_to(path).parts for item in path.rglob("*") if item.is_file())
    listed = [{"md5": _md5(path.joinpath(*parts)), "relpath": "/".join(parts)} for parts in files]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest()


def _md5(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
