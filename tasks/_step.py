"""What a step is: its key, its verified reuse, its output that is whole or absent. Both callers come through here."""

import hashlib
import importlib.util
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from tverase.config import Params
from tverase.errors import DataError, StorageError
from tverase.files import ASIDE, digest_of, read_json, remove, sha256, write_json
from tverase.models.base import Meter
from tverase.progress import Tell, silent

STATE = Path(".tverase")
Paths = Mapping[str, Path]


@dataclass(frozen=True)
class Job:
    """What a step's function gets: parameters, where to read, where to write, where to keep unfinished work."""

    params: Params
    inputs: Paths
    outputs: Paths  # unfinished names; they get their own when the function returns
    scratch: Path  # survives a crash, is deleted after success
    tell: Tell
    meter: Meter = field(default_factory=Meter)


@dataclass(frozen=True)
class Record:
    """What a step left behind, by content: the key it was made for and the sha256 of every output."""

    step: str
    key: str
    inputs: dict[str, str]
    outputs: dict[str, str]  # path -> sha256
    seconds: float
    evaluations: int
    reused: bool = False

    def whole(self) -> bool:
        """Whether every output is there and has not changed."""
        return all(Path(path).exists() and sha256(Path(path)) == digest for path, digest in self.outputs.items())


@dataclass(frozen=True)
class Step:
    """One step of the pipeline. `code` are the modules whose source is its code version, beside the number."""

    name: str
    sections: tuple[str, ...]
    inputs: Callable[[Params], dict[str, Path]]
    outputs: Callable[[Params], dict[str, Path]]
    run: Callable[[Job], None]
    version: int = 1
    code: tuple[str, ...] = ()
    shipped: Path | None = None  # a record in git, for outputs that are in git too
    home: Callable[[Params], str] = lambda params: params.name  # the run that its records and locks belong to

    def record_path(self, params: Params) -> Path:
        """Where the record of these parameters' outputs is kept."""
        return self.shipped or STATE / self.home(params) / f"{self.name}.json"

    def lock_path(self, params: Params) -> Path:
        """One lock for what would write the same files; runs of two concepts share what is shipped."""
        return STATE / (f"{self.name}.lock" if self.shipped else f"{self.home(params)}-{self.name}.lock")

    def input_hashes(self, params: Params) -> dict[str, str]:
        """The sha256 of every input; a missing one is a `DataError`."""
        hashes = {}
        for name, path in self.inputs(params).items():
            if not path.exists():
                raise DataError(
                    f"{self.name} needs {path}, which is not there; run the steps before it: `tverase run`."
                )
            hashes[name] = sha256(path)
        return hashes

    def key(self, params: Params, hashes: Mapping[str, str]) -> str:
        """Name, version, code, its own parameters and its inputs' contents; never a path or a time."""
        values = {name: _plain(params.section(name)) for name in self.sections}
        content = [self.name, self.version, self.code_hash(), values, dict(sorted(hashes.items()))]
        return digest_of(content)

    def code_hash(self) -> str:
        """A sha256 over the sources of the modules in `code`."""
        return hashlib.sha256("".join(sha256(path) for path in self.code_files()).encode()).hexdigest()

    def code_files(self) -> list[Path]:
        """The source files of `code`."""
        files = []
        for module in self.code:
            spec = importlib.util.find_spec(module)
            if spec is None or spec.origin is None:
                raise DataError(f"the module {module} of the step {self.name} cannot be found; install tverase again.")
            files.append(Path(spec.origin))
        return files

    def last(self, params: Params) -> Record | None:
        """The record of the last run, if it can be read."""
        try:
            return Record(**read_json(self.record_path(params)))
        except (OSError, ValueError, TypeError):
            return None

    def current(self, params: Params) -> bool:
        """Whether running it again would do nothing."""
        try:
            key = self.key(params, self.input_hashes(params))
        except DataError:
            return False
        return self.reusable(params, key) is not None

    def reusable(self, params: Params, key: str) -> Record | None:
        """The last record, if it was made for `key` and every output is still whole."""
        last = self.last(params)
        return last if last is not None and last.key == key and last.whole() else None

    def execute(self, params: Params, tell: Tell = silent, *, force: bool = False) -> Record:
        """Run it, unless its outputs are there, whole and made from just this."""
        _make_folder(STATE)
        with FileLock(self.lock_path(params)):  # freed by the kernel if the process is killed
            hashes = self.input_hashes(params)
            key = self.key(params, hashes)
            if not force and (last := self.reusable(params, key)) is not None:
                return Record(**{**asdict(last), "reused": True})
            return self._make(params, key, hashes, tell)

    def _make(self, params: Params, key: str, hashes: dict[str, str], tell: Tell) -> Record:
        """Write aside, hash, rename; the record comes last, so that without it nothing counts."""
        remove(self.record_path(params))
        finals = self.outputs(params)
        asides = {name: path.with_name(path.name + ASIDE) for name, path in finals.items()}
        scratch = STATE / "scratch" / key
        for path in asides.values():
            _make_folder(path.parent)
            remove(path)
        _make_folder(scratch)
        job = Job(params, self.inputs(params), asides, scratch, tell)
        started = time.monotonic()
        try:
            self.run(job)
            if missing := [name for name, path in asides.items() if not path.exists()]:
                raise DataError(f"the step {self.name} did not write {', '.join(missing)}.")
            digests = {str(finals[name]): sha256(path) for name, path in asides.items()}
            for name, path in asides.items():
                remove(finals[name])
                path.rename(finals[name])
        finally:
            for path in asides.values():
                remove(path)
        seconds = round(time.monotonic() - started, 2)
        record = Record(self.name, key, hashes, digests, seconds, job.meter.evaluations)
        write_json(self.record_path(params), asdict(record))
        remove(scratch)
        return record


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be made ({error.strerror}); choose a folder that you may write to."
        ) from error


def _plain(value: Any) -> Any:
    """A section as JSON: only what differs from nothing, in a stable form."""
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value
