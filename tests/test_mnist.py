"""Idx files: read whole, plain or gzipped, or refused with the reason."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tverase.errors import DataError
from tverase.world.mnist import FILES, IMAGES, LABELS, as_digits, parse_idx, read_folder

NAMES = FILES["train"]


def idx(magic: int, content: np.ndarray) -> bytes:
    """The bytes of an idx file."""
    return struct.pack(f">{1 + content.ndim}I", magic, *content.shape) + content.astype(np.uint8).tobytes()


def pixels(count: int = 5, side: int = 28) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side), dtype=np.uint8)


def fill(folder: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """A folder with one part, plain."""
    folder.mkdir(exist_ok=True)
    for name, magic, content in zip(NAMES, (IMAGES, LABELS), (images, labels), strict=True):
        (folder / name).write_bytes(idx(magic, content))
    return folder


def zipped(folder: Path) -> None:
    for path in list(folder.iterdir()):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()


def dotted(folder: Path) -> None:
    for path in list(folder.iterdir()):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))


@pytest.mark.parametrize("change", [lambda folder: None, zipped, dotted], ids=["plain", "gzip", "dots"])
def test_what_was_written_is_read(tmp_path: Path, change: Callable[[Path], None]) -> None:
    images, labels = pixels(), np.array([3, 1, 4, 1, 5])
    images[0, 0, :2] = 0, 255
    folder = fill(tmp_path / "mnist", images, labels)
    change(folder)
    found = read_folder(folder, "train")
    assert len(found) == 5
    assert found.images.shape == (5, 1, 28, 28)
    assert found.labels.tolist() == labels.tolist()
    assert found.images[0, 0, 0, :2].tolist() == [-1, 1]
    assert torch.equal(((found.images[:, 0] + 1) * 127.5).round().to(torch.uint8), torch.from_numpy(images))


def cut(folder: Path) -> None:
    path = folder / NAMES[0]
    path.write_bytes(path.read_bytes()[:-1])


def cut_zipped(folder: Path) -> None:
    zipped(folder)
    path = folder / f"{NAMES[0]}.gz"
    path.write_bytes(path.read_bytes()[:-20])


def spoil_zipped(folder: Path) -> None:
    """Bytes in the middle of the compressed stream that cannot be decompressed."""
    zipped(folder)
    path = folder / f"{NAMES[0]}.gz"
    raw = path.read_bytes()
    path.write_bytes(raw[:10] + b"\xff" * (len(raw) - 18) + raw[-8:])


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "one byte short": (cut, "its header promises 3936; it is truncated"),
    "one byte more": (lambda f: (f / NAMES[1]).open("ab").write(b"!"), "truncated or damaged"),
    "no header": (lambda f: (f / NAMES[1]).write_bytes(b"\0\0\x08"), "too few for the header"),
    "empty file": (lambda f: (f / NAMES[0]).write_bytes(b""), "too few for the header"),
    "files swapped": (lambda f: (f / NAMES[0]).write_bytes(idx(LABELS, np.arange(99))), "expected 0x00000803"),
    "gzip without the name": (
        lambda f: (f / NAMES[0]).write_bytes(gzip.compress(idx(IMAGES, pixels()))),
        "is it the right idx file",
    ),
    "gzip cut": (cut_zipped, "cannot be read .*fetch it again"),
    "gzip spoiled": (spoil_zipped, "cannot be read .*fetch it again"),
    "no gzip": (lambda f: (f / NAMES[0]).rename(f / f"{NAMES[0]}.gz"), "cannot be read .*fetch it again"),
    "no labels": (lambda f: (f / NAMES[1]).unlink(), "holds no train-labels-idx1-ubyte"),
    "a label short": (lambda f: (f / NAMES[1]).write_bytes(idx(LABELS, np.arange(4))), "5 train images and 4 labels"),
    "other size": (lambda f: (f / NAMES[0]).write_bytes(idx(IMAGES, pixels(5, 27))), "expected images of 28 x 28"),
    "no digit": (lambda f: (f / NAMES[1]).write_bytes(idx(LABELS, np.arange(6, 11))), "a label is 10"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_a_sentence(tmp_path: Path, damage: str) -> None:
    folder = fill(tmp_path / "mnist", pixels(), np.arange(5))
    harm, message = DAMAGES[damage]
    harm(folder)
    with pytest.raises(DataError, match=message):
        read_folder(folder, "train")


def test_an_empty_or_missing_folder(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match="point at a folder of MNIST's four idx files"):
            read_folder(folder, "test")


def test_no_images_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected images of 28 x 28"):
        read_folder(fill(tmp_path / "mnist", pixels(0), np.arange(0)), "train")


def test_the_format_itself() -> None:
    assert parse_idx(idx(LABELS, np.array([7, 9])), LABELS, "here").tolist() == [7, 9]
    found = as_digits(pixels(2), np.array([0, 9]))
    assert (found.images.dtype, found.labels.dtype) == (torch.float32, torch.int64)
