"""What a step leaves behind beside its outputs: what made them, by content, so that any machine can check it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from tverase.errors import DataError
from tverase.files import digest_of, read_json, sha256, write_json

LIBRARIES = ("torch", "diffusers", "transformers")  # whose version may change a result; a change is reported


@dataclass(frozen=True)
class Record:
    """The key of a result and all that went into it; the sha256 of every output."""

    step: str
    key: str
    inputs: dict[str, str]  # name -> sha256
    outputs: dict[str, str]  # path -> sha256
    seconds: float
    evaluations: int
    reused: bool = False
    params: dict[str, Any] = field(default_factory=dict)  # section -> value
    code: dict[str, str] = field(default_factory=dict)  # module or data file -> sha256
    versions: dict[str, str] = field(default_factory=dict)  # library -> version

    def names(self, expected: Mapping[str, Path]) -> bool:
        """Whether the outputs are just the expected ones, by path."""
        return set(self.outputs) == {str(path) for path in expected.values()}

    def whole(self, expected: Mapping[str, Path]) -> bool:
        """Whether the outputs are just the expected ones, each there and unchanged."""
        if not self.names(expected):
            return False
        try:
            return all(Path(path).exists() and sha256(Path(path)) == digest for path, digest in self.outputs.items())
        except OSError:
            return False

    def true(self, *, shipped: bool = False) -> bool:
        """Whether its key is the hash of just what it says about itself: a record that somebody has changed is not."""
        code = {} if shipped else self.code
        return self.key == digest_of([self.step, code, self.params, self.inputs])

    def again(self) -> Self:
        """The same, marked as reused."""
        return type(self)(**{**asdict(self), "reused": True})

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """What `write` wrote; None if there is nothing or if it is damaged."""
        try:
            found = cls(**read_json(path))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        return found if found._sound() else None

    def _sound(self) -> bool:
        """Whether every field has the type that it says."""
        tables = (self.inputs, self.outputs, self.params, self.code, self.versions)
        if not all(isinstance(text, str) for text in (self.step, self.key)) or type(self.reused) is not bool:
            return False
        if not all(isinstance(table, dict) for table in tables) or type(self.evaluations) is not int:
            return False
        hashes = (self.inputs, self.outputs, self.code, self.versions)
        if not all(isinstance(text, str) for table in hashes for text in table.values()):
            return False
        return type(self.seconds) in (int, float) and 0 <= self.seconds < float("inf") and self.evaluations >= 0


def versions() -> dict[str, str]:
    """The versions of the libraries that compute, without the suffix of a build."""
    return {name: metadata.version(name).partition("+")[0] for name in LIBRARIES}


def hashes_of(inputs: Mapping[str, Path], step: str) -> dict[str, str]:
    """The sha256 of every input; a missing one is a `DataError`."""
    found = {}
    for name, path in inputs.items():
        if not path.exists():
            raise DataError(f"{step} needs {path}, which is not there; run the steps before it: `tverase run`.")
        found[name] = sha256(path)
    return found
