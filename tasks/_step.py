"""What a step is: its key, its verified reuse, its output that is whole or absent. Both callers come through here."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tverase.errors import DataError
from tverase.files import digest_of, remove, storing
from tverase.progress import Tell, silent

from ._code import closure, digests
from ._earlier import found, put_away, take_back
from ._job import Job, Sections
from ._locks import STATE, locked, run_lock
from ._record import Record, hashes_of, versions

if TYPE_CHECKING:
    from tverase.config import Params


def run_name(params: "Params") -> str:
    """The run that most steps belong to: the concepts' name."""
    return params.name


def no_plugins(_: "Params") -> tuple[str, ...]:
    """A step that calls no plug-in."""
    return ()


@dataclass(frozen=True)
class Step:
    """One step of the pipeline. Its key has the source of `run`'s module, of all that this imports, and of its plug-ins.

    sections: the parameters that `run` may read. plugins: the modules of judges, models, attacks, erasers and concepts that
    these parameters choose. shipped: a record in git, for outputs that are in git as well; these are made again if parameters
    or inputs change, while a change of code is only reported, because it rarely changes weights and takes hours.
    """

    name: str
    sections: tuple[str, ...]
    inputs: Callable[["Params"], dict[str, Path]]
    outputs: Callable[["Params"], dict[str, Path]]
    run: Callable[[Job], None]
    plugins: Callable[["Params"], tuple[str, ...]] = no_plugins
    shipped: Path | None = None
    home: Callable[["Params"], str] = run_name  # the run that its records and locks belong to

    @property
    def module(self) -> str:
        """The module of `run`."""
        return self.run.__module__

    def record_path(self, params: "Params") -> Path:
        """Where the record of these parameters' outputs is: beside them, so that it travels with them."""
        return self.shipped or Path("outputs") / self.home(params) / "records" / f"{self.name}.json"

    def lock_path(self, params: "Params") -> Path:
        """One lock for what would write the same files: all steps of a run, or one step whose outputs every run shares."""
        return STATE / f"step-{self.name}.lock" if self.shipped else run_lock(self.home(params))

    def earlier(self, params: "Params") -> Path:
        """Where earlier results are kept."""
        return Path("outputs") / self.home(params) / ".earlier" / self.name

    def input_hashes(self, params: "Params") -> dict[str, str]:
        """The sha256 of every input; a missing one is a `DataError`."""
        return hashes_of(self.inputs(params), self.name)

    def code_files(self, params: "Params") -> dict[str, Path]:
        """The files whose source is part of the key, by module name."""
        return closure((self.module, *self.plugins(params)))

    def values(self, params: "Params") -> dict[str, Any]:
        """Its parameters as JSON."""
        found = {name: _plain(params.section(name)) for name in self.sections}
        if "concepts" in self.sections:  # what their names mean, and not only the names
            found["concepts"] = [concept.content() for concept in params.concept_list]
        return found

    def key(self, params: "Params", hashes: Mapping[str, str]) -> str:
        """Its name, source, parameters and the contents of its inputs; never a path or a time."""
        code = {} if self.shipped else digests(self.code_files(params))
        return digest_of([self.name, code, self.values(params), dict(sorted(hashes.items()))])

    def code_key(self, params: "Params") -> str:
        """A sha256 of its source and all that this imports."""
        return digest_of(digests(self.code_files(params)))

    def last(self, params: "Params") -> Record | None:
        """The record of the last run, if it can be read and is as it was written."""
        found = Record.read(self.record_path(params))
        return found if found is not None and found.true(shipped=self.shipped is not None) else None

    def current(self, params: "Params") -> bool:
        """Whether running it again would do nothing."""
        try:
            key = self.key(params, self.input_hashes(params))
        except DataError:
            return False
        return self.reusable(params, key) is not None

    def reusable(self, params: "Params", key: str, *, strict: bool = False) -> Record | None:
        """The last record, if it was made for `key` and every output is still whole. strict: by the same libraries, too."""
        last = self.last(params)
        if last is None or last.key != key:
            return None
        if strict and not self.shipped and last.versions != versions():
            return None
        return last if last.whole(self.outputs(params)) else None

    def execute(self, params: "Params", tell: Tell = silent, *, force: bool = False, strict: bool = False) -> Record:
        """Run it, unless its outputs are there, whole and made from just this."""
        what = self.name if self.shipped else f"{self.name} in outputs/{self.home(params)}"
        with locked(self.lock_path(params), what):
            hashes = self.input_hashes(params)
            key = self.key(params, hashes)
            if not force and (last := self.reusable(params, key, strict=strict)) is not None:
                return last.again()
            if not force and (back := self._restored(params, key, strict=strict)) is not None:
                return back.again()
            return self._make(params, key, hashes, tell, force=force, strict=strict)

    def put_away(self, params: "Params", more: int = 0) -> None:
        """Take the outputs and their record from their places; they come back when just this is asked for again."""
        keep = 0 if self.shipped else params.runtime.keep + more  # git keeps what is shipped
        put_away(self.earlier(params), self.record_path(params), self.outputs(params), keep)

    def _restored(self, params: "Params", key: str, *, strict: bool) -> Record | None:
        """An earlier result for this key, back in its place."""
        last = None if self.shipped else found(self.earlier(params), key, self.outputs(params))
        if last is None or (strict and last.versions != versions()):
            return None
        self.put_away(params, more=1)  # which is about to leave
        take_back(self.earlier(params), last, self.record_path(params), self.outputs(params))
        return last

    def _make(
        self, params: "Params", key: str, hashes: dict[str, str], tell: Tell, *, force: bool, strict: bool
    ) -> Record:
        """Write aside, hash, rename; the record comes last, so that without it nothing counts."""
        record_path, finals, scratch = self.record_path(params), self.outputs(params), STATE / "scratch" / key
        with storing(scratch):
            scratch.mkdir(parents=True, exist_ok=True)
        with _aside(self.name, finals) as asides:
            job = Job(Sections(params, self.sections), self.inputs(params), asides, scratch, tell)
            started = time.monotonic()
            cache = import_module("tasks._shared")  # its source changes no result, so it is in no key
            theirs = (
                None if force or self.shipped else cache.restore(self.name, key, asides, finals, scratch, strict=strict)
            )
            if theirs is None:
                with storing(Path("outputs")):
                    self.run(job)
            if missing := [name for name, path in asides.items() if not path.exists()]:
                raise DataError(f"the step {self.name} did not write {', '.join(missing)}.")
            made = hashes_of(asides, self.name)
            self.put_away(params)
            remove(self.earlier(params) / key)  # what could not be reused
            for name, path in asides.items():
                with storing(finals[name]):
                    path.rename(finals[name])
        record = theirs.again() if theirs else Record(
            step=self.name, key=key, inputs=hashes,
            outputs={str(finals[name]): digest for name, digest in made.items()},
            seconds=round(time.monotonic() - started, 2), evaluations=job.meter.evaluations,
            params=self.values(params), code=digests(self.code_files(params)), versions=versions(),
        )  # fmt: skip
        record.write(record_path)
        remove(scratch)
        if theirs is None and not self.shipped:
            cache.share(record, finals)
        return record


@contextmanager
def _aside(step: str, finals: Mapping[str, Path]) -> Iterator[dict[str, Path]]:
    """A path to write each output to, in a folder beside it that is the step's own; what a killed run left there goes."""
    folders = {path.parent: path.parent / f".{step}.part" for path in finals.values()}
    try:
        for parent, folder in folders.items():
            with storing(parent):
                remove(folder)
                folder.mkdir(parents=True, exist_ok=True)
        yield {name: folders[path.parent] / path.name for name, path in finals.items()}
    finally:
        for folder in folders.values():
            remove(folder)


def _plain(value: Any) -> Any:
    """A section as JSON in a stable form."""
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value
