"""What a run publishes, and which version a name stands for."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tasks._record import Record
from tverase.errors import ConfigError, DataError, NotProved, unknown
from tverase.files import read_json, sha256
from tverase.progress import Tell, silent
from tverase.storage import Store, visible
from tverase.stores import open_store

RUNS, PUBLISHED, LATEST = Path("outputs"), "published", "latest"
NEEDED = ("erased", "report.html", "metrics.json", "verdict.json", "tau.safetensors", "records")


def publish(run: str, to: str = "", tell: Tell = silent, *, unproved: bool = False) -> dict[str, str]:
    """Store `NAME` or `NAME@NUMBER` and read it back; its name, version, digest and store."""
    name, _, number = run.partition("@")
    files = proved_files(RUNS / name, unproved=unproved)
    if number:
        require_number(RUNS / name, number)
    store = open_store(to)
    digest = store.put_files(files, tell, reread=True)
    for version in (digest[:12], *([number] if number else []), LATEST):
        store.put_ref(f"{PUBLISHED}/{name}/{version}", digest)
    return {"name": name, "version": digest[:12], "digest": digest, "store": store.place}


def proved_files(out: Path, *, unproved: bool = False) -> dict[str, Path]:
    """What a run publishes, by relative name; refused unless it is proved and as its records say."""
    if not (out / "verdict.json").is_file():
        runs = [path.parent.name for path in RUNS.glob("*/verdict.json")]
        raise ConfigError(
            f"{unknown('run', out.name, runs)}." if runs else f"{out} has no verdict; run `tverase run` first."
        )
    said = _verdict_in(out / "verdict.json")
    if said["outcome"] != "erased" and not unproved:
        raise NotProved(f"{said['title']} ({said['outcome']}), so it is not published; --unproved publishes it anyway.")
    missing = [name for name in NEEDED if not (out / name).exists()]
    if missing:
        raise DataError(f"{out} has no {', '.join(missing)}; run `tverase run` again.")
    _require_records(out)
    files = {name: out / name for name in NEEDED if (out / name).is_file()}
    for folder in (name for name in NEEDED if (out / name).is_dir()):
        files |= {f"{folder}/{within}": path for within, path in visible(out / folder).items()}
    return files


def _verdict_in(path: Path) -> dict[str, Any]:
    """What a run's verdict.json says, if anybody can read it."""
    try:
        said = read_json(path)
        known = all(isinstance(said[name], str) for name in ("outcome", "title"))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        known = False
    if not known:
        raise DataError(f"{path} is damaged; run `tverase run` again.")
    return dict(said)


def require_number(out: Path, number: str) -> None:
    """Raise an error unless MLflow has the model of `out` as version `number`."""
    from tasks._registered import require_version
    from tasks.register import content_hash

    if not number.isdecimal():
        raise ConfigError(f"{number!r} is not the number of a version in MLflow.")
    require_version(content_hash(out, _made(_records(out))), number)


def _records(out: Path) -> list[Record]:
    found = {path: Record.read(path) for path in sorted((out / "records").glob("*.json"))}
    if damaged := [path for path, record in found.items() if record is None or record.step != path.stem]:
        raise DataError(f"{damaged[0]} is damaged; run `tverase run` again.")
    return [record for record in found.values() if record is not None]


def _made(records: list[Record]) -> dict[str, str]:
    return {path: digest for record in records for path, digest in record.outputs.items()}


def _require_records(out: Path) -> None:
    """Only an evaluated model is published: it has not changed since, and was not made again without an evaluation."""
    records = _records(out)
    made = _made(records)
    for path in (out / name for name in NEEDED):
        if made.get(str(path), found := "" if path.name == "records" else sha256(path)) != found:
            raise DataError(f"{path} is not what its record says; run `tverase run` again.")
    judged = {digest for record in records if record.step == "evaluate" for digest in record.inputs.values()}
    if sha256(out / "erased") not in judged:
        raise DataError(f"{out / 'erased'} is not the model that was evaluated; run `tverase run` again.")


def resolve(store: Store, ref: str) -> str:
    """The digest that `NAME`, `NAME@VERSION` or a whole sha256 stands for."""
    if re.fullmatch(r"[0-9a-f]{64}", ref):
        return ref
    name, _, version = ref.partition("@")
    digest = store.get_ref(f"{PUBLISHED}/{name}/{version or LATEST}")
    if digest is None:
        refs = [found.removeprefix(f"{PUBLISHED}/") for found in store.refs(f"{PUBLISHED}/")]
        there = [found.removesuffix(f"/{LATEST}").replace("/", "@") for found in refs]
        raise ConfigError(f"{unknown('version', ref, there)}." if there else f"nothing is published in {store.place}.")
    return digest


def versions(store: Store) -> list[dict[str, Any]]:
    """The published versions, each with its verdict, its size, and the other names that stand for it."""
    names = dict[tuple[str, str], list[str]]()
    for ref in store.refs(f"{PUBLISHED}/"):
        _, name, version = ref.split("/")
        names.setdefault((name, store.get_ref(ref) or ""), []).append(version)
    return [_row(store, name, digest, known) for (name, digest), known in names.items()]


def _row(store: Store, name: str, digest: str, known: list[str]) -> dict[str, Any]:
    files = store.files(digest) or {}
    return {
        "name": name,
        "version": digest[:12],
        "digest": digest,
        "verdict": _verdict(store, files),
        "files": len(files),
        "bytes": sum(size for _, size in files.values()),
        "also": [version for version in known if version != digest[:12]],
    }


def _verdict(store: Store, files: dict[str, tuple[str, int]]) -> str:
    """The outcome in the stored verdict.json."""
    if "verdict.json" not in files:
        return "unknown"
    with TemporaryDirectory() as folder:
        store.get(files["verdict.json"][0], Path(folder) / "verdict.json")
        return str(_verdict_in(Path(folder) / "verdict.json")["outcome"])
