"""Which steps would run, and why: each step's record compared with the files of now."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tverase.config import Params
from tverase.errors import DataError

from ._all import chosen
from ._code import digests
from ._record import Record, versions
from ._step import Step

CURRENT, RUNS = "up to date", "would run"
SHOWN = 3  # changes of one kind that are named


@dataclass(frozen=True)
class State:
    """Whether a step would run; the key of its source; the reasons; what changed without being one."""

    state: str
    code_key: str
    why: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def states(params: Params) -> dict[str, State]:
    """The state of each step of a run with these parameters, in their order."""
    found: dict[str, State] = {}
    remade = dict[Path, str]()
    for step in chosen(params):
        why, last = [], step.last(params)
        for path in step.inputs(params).values():
            made_by = next((remade[place] for place in (path, *path.parents) if place in remade), None)
            if made_by is not None and (reason := f"{made_by} would run before it") not in why:
                why.append(reason)
        why += _reasons(step, params, last)
        if why:
            remade |= dict.fromkeys([*step.outputs(params).values(), step.record_path(params)], step.name)
        found[step.name] = State(RUNS if why else CURRENT, step.code_key(params), why, _notes(step, params, last))
    return found


def _reasons(step: Step, params: Params, last: Record | None) -> list[str]:
    if last is None:
        return ["it never ran with these outputs" if not step.shipped else "its record is missing"]
    try:
        hashes = step.input_hashes(params)
    except DataError:
        hashes = {}
    why = [f"parameter {name}: {old} -> {new}" for name, old, new in _differences(last.params, step.values(params))]
    why += [f"input {name} changed" for name, _, _ in _differences(last.inputs, hashes)] if hashes else []
    if not step.shipped:
        why += _changed_code(step, params, last)
    if hashes and not why and step.key(params, hashes) != last.key:
        why.append("it was made by an earlier version of tverase")
    if not last.whole(step.outputs(params)):
        why.append("an output is missing or damaged")
    return why


def _changed_code(step: Step, params: Params, last: Record) -> list[str]:
    names = [name for name, _, _ in _differences(last.code, digests(step.code_files(params)))]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return [f"source changed: {', '.join(names[:SHOWN])}{more}"] if names else []


def _notes(step: Step, params: Params, last: Record | None) -> list[str]:
    """Differences that do not make it run: other libraries, and other source of shipped outputs."""
    if last is None or not last.versions:
        return []
    now = versions()
    notes = [
        f"made with {n} {v}, now {now.get(n)}; --strict runs it again"
        for n, v in last.versions.items()
        if now.get(n) != v
    ]
    if step.shipped and last.code:
        notes += [
            f"{text}; `tverase run --force {step.name}` makes it anew" for text in _changed_code(step, params, last)
        ]
    return notes


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """(name, old, new) of every value that differs, by dotted name; a long value is shortened."""
    found: list[tuple[str, Any, Any]] = []
    for name in dict.fromkeys([*old, *new]):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += _differences(before, after, f"{prefix}{name}.")
        elif before != after:
            found.append((f"{prefix}{name}", _short(before), _short(after)))
    return found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
