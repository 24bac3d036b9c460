"""A part of the table that compares erasers: its key, whether it is finished, and its execution. No Prefect here."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from tverase.bench import cell, edits, prepare, retain
from tverase.bench.gate import GATE
from tverase.bench.material import Prepared
from tverase.bench.plan import Work
from tverase.bench.rows import EDIT, TAU
from tverase.errors import ModelError
from tverase.files import digest_of, read_json, sha256, storing, write_json
from tverase.models.adapters import adapter_module
from tverase.models.folder import locate
from tverase.registry import built

from ._code import closure, digests
from ._plugins import spec_modules

T = TypeVar("T")
CODE = {"material": prepare, "edit": edits, "cell": cell, "plain": cell, "retain": retain}


@dataclass(frozen=True)
class Keyed:
    """A part with its key, that of its source, and the hashes of its inputs; never a path or a time."""

    work: Work
    key: str
    code: str
    hashes: dict[str, str]


class Keys:
    """Makes keys of many parts. What they share is looked at once, so one object is for one stage of one table.

    A key has the source of the part and of all that this imports, its plug-ins, its settings and the contents of its inputs.
    """

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def of(self, work: Work) -> Keyed:
        """The key of one part."""
        code = self._once(("code", *self._modules(work)), lambda: digest_of(digests(closure(self._modules(work)))))
        there = {name: path for name, path in self._inputs(work).items() if path.exists()}
        hashes = {name: self._once(("file", path), partial(sha256, path)) for name, path in there.items()}
        case = self._once(("case", work.case.model_dump_json()), work.case.content)
        row = work.row.content() if work.row else None
        attempt = {"name": work.attempt.name, "spec": work.attempt.spec} if work.attempt else None
        values = [cell.SCHEMA, work.stage, code, case, row, attempt, dict(sorted(hashes.items()))]
        return Keyed(work, digest_of(values), code, hashes)

    def _once(self, name: tuple[Any, ...], make: Callable[[], T]) -> T:
        if name not in self._known:
            self._known[name] = make()
        found: T = self._known[name]
        return found

    def _modules(self, work: Work) -> tuple[str, ...]:
        """The modules whose source decides a part."""
        found = [CODE[work.stage].__name__]
        plugins = [("judge", spec) for spec in work.case.judges]
        if work.row and work.row.eraser and (work.stage == "edit" or not (work.place.edit / TAU).exists()):
            plugins.append(("eraser", work.row.eraser))  # a guard is made again in each cell
        if work.attempt:
            plugins.append(("attack", work.attempt.spec))
        for kind, spec in plugins:
            name = ("plug-in", kind, json.dumps(spec, sort_keys=True))
            found += self._once(name, partial(_plugin, kind, spec))
        for folder in (work.case.model, work.row.folder if work.row else ""):
            if folder:
                found += self._once(("adapter", folder), partial(_adapter, folder))
        return tuple(dict.fromkeys(found))

    def _inputs(self, work: Work) -> dict[str, Path]:
        """The files and folders that a part reads."""
        found: dict[str, Path] = {"model": self._once(("model", work.case.model), lambda: locate(work.case.model))}
        for number, spec in enumerate(work.case.judges):
            name = ("judge files", json.dumps(spec, sort_keys=True))
            files = self._once(name, built("judge", spec).files)
            found |= {f"judge {number}/{name}": path for name, path in files.items()}
        if work.stage == "material":
            return found | work.case.named.folders
        found |= {f"material/{name}": path for name, path in Prepared.files(work.place.material).items()}
        if work.row and work.row.folder:
            found["row"] = self._once(("row", work.row.folder), partial(_located, work.row.folder))
        elif work.row and work.row.made and work.stage != "edit":
            found |= {name: work.place.edit / name for name in (EDIT, TAU)}
        return found


def _located(folder: str) -> Path:
    """Where a model folder is; one that cannot be found is refused where it is opened."""
    try:
        return locate(folder)
    except ModelError:
        return Path(folder)


def _plugin(kind: str, spec: Mapping[str, Any] | str) -> list[str]:
    return list(spec_modules(kind, spec))


def _adapter(folder: str) -> list[str]:
    """The module that opens a model folder; what is wrong with one is said where it is opened."""
    try:
        return [adapter_module(locate(folder))]
    except ModelError:
        return []


def finished(one: Keyed, *, retry: bool = False) -> dict[str, Any] | None:
    """What an earlier run has written for this key, if it is whole. retry: what failed counts as unfinished."""
    work = one.work
    try:
        said: dict[str, Any] = read_json(work.path)
    except (OSError, ValueError):
        return None
    if said.get("key") != one.key or (retry and said["state"] == "failed"):
        return None
    beside = {"cell": [work.path.with_suffix(".png")], "material": list(Prepared.files(work.place.material).values())}
    needed = beside.get(work.stage, []) if said["state"] == "done" else []
    if work.stage == "edit" and said["state"] == "done" and not said["guard"]:
        needed = [work.place.edit / TAU]
    return said if all(path.exists() for path in needed) else None


def execute(work: Work, key: str, code: str, hashes: Mapping[str, str]) -> dict[str, Any]:
    """Do a part and write it; returns what is written. Whatever it raises is its state."""
    torch.set_num_threads(1)  # the bytes do not depend on the machine, and two parts do not get in each other's way
    work.case.ready(work.row.folder if work.row else "")
    about = _about(Keyed(work, key, code, dict(hashes)))
    with storing(work.path):
        work.path.parent.mkdir(parents=True, exist_ok=True)
    with GATE.computing():
        started, busy = time.monotonic(), time.thread_time()
        said = cell.write_cell(work.path, about, _run(work), _seconds(work))
    spent = {"seconds": round(time.monotonic() - started, 2), "cpu": round(time.thread_time() - busy, 2)}
    write_json(work.path.with_suffix(".time"), spent)
    return said


def fail(one: Keyed, error: BaseException) -> None:
    """Write the state of a part whose worker is gone."""

    def gone() -> dict[str, Any]:
        raise RuntimeError(f"the worker of this part is gone ({type(error).__name__}).")

    cell.write_cell(one.work.path, _about(one), gone, 0)


def _seconds(work: Work) -> float:
    """The limit of a part. Making material or an edit serves many cells and may take longer than one."""
    return work.case.budget.seconds * (8 if work.stage in ("material", "edit") else 1)


def _about(one: Keyed) -> dict[str, Any]:
    work = one.work
    found: dict[str, Any] = {"key": one.key, "code": one.code, "inputs": one.hashes, "stage": work.stage}
    found |= {"concept": work.case.named.name, "seed": work.case.seed, "judges": work.case.jury.about()}
    if work.row:
        found |= {"row": work.row.name, "row_kind": work.row.kind, "row_settings": work.row.content()}
    if work.attempt:
        found |= {"attack": work.attempt.name, "settings": work.attempt.spec, "input_kind": work.attempt.input_kind}
    return found


def _run(work: Work) -> Callable[[], dict[str, Any]]:
    case, row, place = work.case, work.row, work.place
    if row is None:
        return lambda: prepare.prepare(case, place.material)
    if work.stage == "edit":
        return lambda: edits.make(case, row, place.material, place.edit)
    if work.attempt is None:
        part = retain.retained if work.stage == "retain" else cell.plain_draws
        return lambda: part(case, row, place)
    attempt = work.attempt
    return lambda: cell.attacked(case, row, attempt, place)
