"""A store of files by content, and the one in a folder; tverase.s3 has the one in a bucket.

A file is stored as `objects/AA/SHA256`, a folder as `trees/AA/SHA256`: a JSON list of its files. Both have the digest that
`tverase.files.sha256` computes. `refs/NAME` holds one digest. A name appears only when its content is complete.
"""

import hashlib
import json
import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from uuid import uuid4

from .errors import ConfigError, DataError, StorageError
from .files import ASIDE, remove, sha256, storing
from .progress import Progress, Tell, silent

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Store(ABC):
    """Files and folders by their sha256, and names that point to them."""

    place: str  # for messages; without secrets

    def put(self, path: Path, tell: Tell = silent, *, reread: bool = False) -> str:
        """Store a file or a folder and return its digest.

        Sent files are read back and compared. Existing ones are compared by size and checksum only. With `reread` they are
        read back too, and replaced where they are damaged.
        """
        return self.put_files(visible(path), tell, reread=reread) if path.is_dir() else self._put(path, reread=reread)

    def put_files(self, files: Mapping[str, Path], tell: Tell = silent, *, reread: bool = False) -> str:
        """Store files as one folder, by their relative names in it, and return the digest of the folder."""
        found = dict[str, str]()
        for name, path in sorted(files.items()):
            tell(Progress(f"storing {name}", len(found), len(files)))
            found[name] = self._put(path, reread=reread)
        digest = folder_digest(found)
        listed = {name: {"sha256": found[name], "size": path.stat().st_size} for name, path in files.items()}
        self._write(_key("trees", digest), json.dumps({"files": listed}, indent=1, sort_keys=True).encode())
        tell(Progress("stored", len(files), len(files)))
        return digest

    def get(self, digest: str, to: Path, tell: Tell = silent) -> None:
        """Write the object of this digest to `to`. It gets this name when it is complete and its sha256 is right.

        A folder is collected in `to.part`; a second call goes on with the files that a stopped one left there.
        """
        files, aside = self.files(digest), to.with_name(to.name + ASIDE)
        with storing(to):
            if files is None or not aside.is_dir():
                remove(aside)
            if files is None:
                self._get(digest, aside)
            else:
                aside.mkdir(parents=True, exist_ok=True)
                for path in (path for path in aside.rglob("*") if not path.is_dir()):
                    if path.relative_to(aside).as_posix() not in files:
                        path.unlink()
                for done, (name, (wanted, _)) in enumerate(files.items()):
                    tell(Progress(f"fetching {name}", done, len(files)))
                    if not (aside / name).is_file() or sha256(aside / name) != wanted:
                        self._get(wanted, aside / name)
                tell(Progress("fetched", len(files), len(files)))
            if to.is_dir() or aside.is_dir():
                remove(to)  # only a file can be renamed over another
            os.replace(aside, to)

    def files(self, digest: str) -> dict[str, tuple[str, int]] | None:
        """Return the digest and size of each file of a stored folder, by name; None if the digest is not a folder's."""
        text = self._read(_key("trees", digest))
        if text is None:
            return None
        try:
            found = {str(k): (str(v["sha256"]), int(v["size"])) for k, v in json.loads(text)["files"].items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            found = {}
        strange = [name for name in found if "\0" in name or name.startswith("/") or ".." in PurePosixPath(name).parts]
        if strange or folder_digest({name: entry[0] for name, entry in found.items()}) != digest:
            raise StorageError(f"the list of folder {digest[:12]} in {self.place} is damaged; publish it again.")
        return found

    def put_ref(self, name: str, digest: str) -> None:
        """Let `name` point to `digest`, which is stored already."""
        self._write(_ref(name), digest.encode())

    def get_ref(self, name: str) -> str | None:
        """Return the digest that `name` points to, or None."""
        text = (self._read(_ref(name)) or b"").decode(errors="replace").strip()
        if text and not _DIGEST.fullmatch(text):
            raise StorageError(f"the name {name} in {self.place} is damaged; publish it again.")
        return text or None

    def refs(self, prefix: str = "") -> list[str]:
        """Return the names that start with `prefix`, sorted."""
        return sorted(key.removeprefix("refs/") for key in self._keys(f"refs/{prefix}"))

    def _put(self, path: Path, *, reread: bool) -> str:
        if not path.is_file():
            raise DataError(f"{path} is not there, so it cannot be stored.")
        digest = sha256(path)
        key = _key("objects", digest)
        if not self._present(key, digest, path.stat().st_size):
            self._send(path, key, digest)
        elif not reread:
            return digest
        if self._digest(key) != digest:
            self._send(path, key, digest)
            if self._digest(key) != digest:
                self._delete(key)
                raise StorageError(
                    f"{self.place} does not return {path} as it was sent; try again, or use another store."
                )
        return digest

    def _get(self, digest: str, to: Path) -> None:
        part = to.with_name(f"{to.name}.{digest[:8]}{ASIDE}")
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            if not self._fetch(_key("objects", digest), part):
                raise DataError(f"{digest[:12]} is not in {self.place}; `tverase store list` shows what is.")
            if sha256(part) != digest:
                raise StorageError(f"{digest[:12]} is damaged in {self.place}; publish it again, which replaces it.")
            os.replace(part, to)
        finally:
            part.unlink(missing_ok=True)

    @abstractmethod
    def _present(self, key: str, digest: str, size: int) -> bool:
        """Whether a file is stored with this size, and as far as is known without reading it, with this digest."""

    @abstractmethod
    def _send(self, path: Path, key: str, digest: str) -> None:
        """Store a file under `key`, which appears when it is complete."""

    @abstractmethod
    def _digest(self, key: str) -> str:
        """Read a stored file back and return its sha256."""

    @abstractmethod
    def _fetch(self, key: str, to: Path) -> bool:
        """Write a stored file to `to`; return whether it is there."""

    @abstractmethod
    def _write(self, key: str, content: bytes) -> None: ...

    @abstractmethod
    def _read(self, key: str) -> bytes | None: ...

    @abstractmethod
    def _keys(self, prefix: str) -> Iterable[str]: ...

    @abstractmethod
    def _delete(self, key: str) -> None: ...


class FolderStore(Store):
    """A store in a folder, which several machines may share."""

    def __init__(self, root: Path) -> None:
        self.root, self.place = root, str(root)

    def _present(self, key: str, digest: str, size: int) -> bool:
        path = self.root / key
        return path.is_file() and path.stat().st_size == size

    def _send(self, path: Path, key: str, digest: str) -> None:
        with path.open("rb") as source:
            self._copy(lambda aside: shutil.copyfileobj(source, aside, 1 << 20), key)

    def _write(self, key: str, content: bytes) -> None:
        self._copy(lambda aside: aside.write(content), key)

    def _copy(self, fill: Callable[[BinaryIO], object], key: str) -> None:
        final = self.root / key
        aside = final.with_name(f".{uuid4().hex}{ASIDE}")  # two processes may store the same content at once
        with storing(final):
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                with aside.open("wb") as handle:
                    fill(handle)
                    handle.flush()
                    os.fsync(handle.fileno())
                os.replace(aside, final)
            finally:
                aside.unlink(missing_ok=True)

    def _digest(self, key: str) -> str:
        return sha256(self.root / key)

    def _fetch(self, key: str, to: Path) -> bool:
        return (self.root / key).is_file() and bool(shutil.copyfile(self.root / key, to))

    def _read(self, key: str) -> bytes | None:
        path = self.root / key
        return path.read_bytes() if path.is_file() else None

    def _keys(self, prefix: str) -> Iterable[str]:
        found = (path.relative_to(self.root).as_posix() for path in (self.root / "refs").rglob("*") if path.is_file())
        return [key for key in found if key.startswith(prefix) and not key.endswith(ASIDE)]

    def _delete(self, key: str) -> None:
        (self.root / key).unlink(missing_ok=True)


def folder_digest(files: Mapping[str, str]) -> str:
    """Return what `tverase.files.sha256` says of a folder with these files: relative name -> sha256."""
    lines = (f"{name}\0{files[name]}\n" for name in sorted(files, key=PurePosixPath))
    return hashlib.sha256(b"".join(map(os.fsencode, lines))).hexdigest()


def visible(folder: Path) -> dict[str, Path]:
    """Return the files of a folder that `tverase.files.sha256` counts, by relative name."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path for path in found}


def _key(kind: str, digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise ConfigError(f"{digest!r} is not a digest: it needs 64 hexadecimal digits.")
    return f"{kind}/{digest[:2]}/{digest}"


def _ref(name: str) -> str:
    if not re.fullmatch(r"\w[\w.+\-]*(/\w[\w.+\-]*)*", name):
        raise ConfigError(f"{name!r} cannot be a name in a store: use letters, digits, and . + - / between them.")
    return f"refs/{name}"
