"""Files that are whole or absent: write aside, verify, rename."""

import errno
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import ModelError, StorageError

ASIDE = ".part"
SETTLED = 2_000_000_000  # nanoseconds: a file that is older than this and changes gets another time on any file system


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, a file or a folder; renamed to `path` when the block ends without error."""
    aside = path.with_name(path.name + ASIDE)
    try:
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            remove(aside)
            yield aside
            if aside.is_dir() and path.is_dir():
                remove(path)  # a folder cannot be renamed over a full one
            os.replace(aside, path)
    finally:
        with suppress(OSError):  # what was in the way of writing is in the way of sweeping up
            remove(aside)


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """What the disk refuses inside the block becomes a `StorageError` about `path`."""
    try:
        yield
    except OSError as error:
        if isinstance(error, StorageError) or error.errno not in _STORAGE:
            raise
        raise StorageError(f"{path} cannot be written: {_STORAGE[error.errno]}.") from error


_STORAGE = {
    errno.ENOSPC: "no space is left on the disk; free some and run again, finished steps are kept",
    errno.EPERM: "permission denied; make the folder writable or choose another one",
    errno.EEXIST: "a file is where a folder is needed; move it away",
    errno.EISDIR: "a folder is where a file is needed; move it away",
    errno.EACCES: "permission denied; make the folder writable or choose another one",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOTDIR: "a file is where a folder is needed; move it away",
    errno.EDQUOT: "the disk quota is used up; free some space and run again",
}


def remove(path: Path) -> None:
    """Delete a file, a link or a folder; nothing happens if it is not there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` so that `path` is never half of it."""
    with writing(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write `content` with sorted keys, so that equal contents are equal bytes."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """What `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def digest_of(content: Any) -> str:
    """The sha256 of what JSON can hold; the order of keys does not count."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_tensors(tensors: Mapping[str, Tensor], path: Path, about: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file with `about` as its metadata, and read it back before it gets its name."""
    with writing(path) as aside:
        whole = _apart(tensors)
        try:
            save_file(whole, aside, dict(sorted((about or {}).items())) or None)
        except SafetensorError as error:
            # The library reports a full or unwritable disk in words only.
            raise StorageError(f"{path} cannot be written: {error}") from error
        _settle(aside)
        read_tensors(aside)


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, each with memory of its own: two views of one are stored twice."""
    whole, seen = dict[str, Tensor](), set[int]()
    for key, value in tensors.items():
        alone = value.detach().contiguous()
        whole[key] = alone.clone() if alone.untyped_storage().data_ptr() in seen else alone
        seen.add(alone.untyped_storage().data_ptr())
    return whole


def _settle(path: Path) -> None:
    """Order the metadata, which safetensors orders anew each time, and let the umask decide who may read."""
    with path.open("r+b") as handle:
        size = int.from_bytes(handle.read(8), "little")
        header = json.loads(handle.read(size))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= size
        handle.seek(8)
        handle.write(text.ljust(size))
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file; a missing or damaged one is a `ModelError`."""
    if not path.is_file():
        raise ModelError(f"{path} is not there; expected a safetensors file.")
    try:
        with safe_open(path, framework="pt") as handle:
            return {key: handle.get_tensor(key) for key in handle.keys()}, dict(handle.metadata() or {})
    except SafetensorError as error:
        raise ModelError(f"{path} is damaged or not a safetensors file ({error}); fetch or make it again.") from error


def dropped(path: Path, error: Exception) -> None:
    """Delete unfinished work that cannot be read, with a word: what it held is computed again."""
    logging.getLogger("tverase").warning("%s is damaged (%s); it is dropped and computed again.", path, error)
    remove(path)


def sha256(path: Path) -> str:
    """The sha256 of a file, or of a folder: of its sorted relative names and their sha256, hidden files left out.

    A process reads a file once, as long as its inode, size and times stay what they are.
    """
    if path.is_dir():
        digest = hashlib.sha256()
        for item in sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")):
            digest.update(os.fsencode(f"{item.relative_to(path).as_posix()}\0{sha256(item)}\n"))
        return digest.hexdigest()
    status = path.stat()
    stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    settled = time.time_ns() - max(stamp[-2:]) > SETTLED
    return (_file_digest if settled else _file_digest.__wrapped__)(path, stamp)


@lru_cache(maxsize=4096)
def _file_digest(path: Path, _: tuple[int, ...]) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
