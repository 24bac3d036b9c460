"""DVC is told what a flow has made, so that `dvc repro` finds nothing to do."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from filelock import FileLock

from tverase.config import Params
from tverase.errors import TveraseError
from tverase.files import digest_of, sha256

from ._all import STEPS
from ._locks import STATE
from ._record import Record

CACHE = Path(".dvc/cache/files/md5")

STAGES = tuple(step.name for step in STEPS if step.shipped is None)
MAIN = Path("params.yaml")
# Parameters in git, and the DVC file whose stages read them.
PIPELINES = {MAIN: Path("dvc.yaml"), Path("params/digits.yaml"): Path("digits/dvc.yaml")}


def commit_if_params_are_in_git(params: Params, records: Mapping[str, Record], stages: Sequence[str] = STAGES) -> bool:
    """`dvc commit` the run's stages, but only if a file of `PIPELINES` has its parameters: DVC believes that file.

    Returns whether anything was committed. Without a DVC repository, without DVC, or if just this was committed
    before and no step has made it anew since, nothing happens.
    """
    if not Path(".git").exists() and _needs_git():
        return False
    try:
        dvc_file = _that_says(params) if Path(".dvc").is_dir() else None
        if dvc_file is None:
            return False
        if _mark(records).exists() and all(record.reused for record in records.values()):
            return False
    except TveraseError:
        return False
    named = [stage if dvc_file == PIPELINES[MAIN] else f"{dvc_file}:{stage}" for stage in stages]
    command = [sys.executable, "-m", "dvc", "commit", "-f", *named]
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    with FileLock(STATE / "dvc.lock"):
        _forget_damaged(Path(output) for record in records.values() for output in record.outputs)
        run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if run.returncode:
        said = [line for line in run.stderr.splitlines() if line.startswith("ERROR")] or run.stderr.strip().splitlines()
        last = (said or ["no message"])[0].removeprefix("ERROR: ")
        raise TveraseError(f"`dvc commit` failed: {last}. Run `dvc status` to see what DVC thinks is changed.")
    mark = _mark(records)  # anew: the commit has written dvc.lock
    mark.parent.mkdir(exist_ok=True)
    mark.touch()
    return True


def _that_says(params: Params) -> Path | None:
    """The DVC file whose stages would run with just these parameters, if there is one."""
    return next((dvc for path, dvc in PIPELINES.items() if path.exists() and params == Params.load(path)), None)


def _needs_git() -> bool:
    """Whether DVC would refuse a folder without git, as it does a copy without .git."""
    config = Path(".dvc/config")
    return not (config.exists() and "no_scm = true" in config.read_text(encoding="utf-8").lower())


def _forget_damaged(outputs: Iterable[Path]) -> None:
    """Remove objects from DVC's cache whose content does not match their name.

    A link to the cache lets damage to an output through, and DVC, which trusts its cache, would put it back.
    """
    for output in outputs:
        for path in (output, *output.rglob("*")):
            if path.is_file():
                name = _md5(path)
                cached = CACHE / name[:2] / name[2:]
                if cached.exists() and not cached.samefile(path) and _md5(cached) != name:
                    cached.unlink()


def _md5(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _mark(records: Mapping[str, Record]) -> Path:
    """A file whose name is a hash of the committed content: results, DVC's files and the parameters in git."""
    files = [path for params, dvc in PIPELINES.items() for path in (params, dvc, dvc.with_suffix(".lock"))]
    content = [
        {str(path): sha256(path) for path in files if path.exists()},
        {name: [record.key, record.outputs] for name, record in records.items()},
    ]
    return STATE / "committed" / digest_of(content)
