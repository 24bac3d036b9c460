"""`tverase publish`, `tverase fetch` and `tverase store list`: results on their way to a store and back."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from tverase.errors import ConfigError
from tverase.progress import Progress

Where = Annotated[
    str, typer.Option("--to", metavar="STORE", help="s3://BUCKET/PREFIX or a folder. Default: TVERASE_STORE.")
]
From = Annotated[str, typer.Option("--from", metavar="STORE", help="s3://BUCKET/PREFIX or a folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
store_app = typer.Typer(no_args_is_help=True, help="The store that TVERASE_STORE names.")


def publish(
    run: Annotated[str, typer.Argument(metavar="NAME[@NUMBER]", help="outputs/NAME; NUMBER: its version in MLflow.")],
    to: Where = "",
    unproved: Annotated[bool, typer.Option("--unproved", help="Also if the verdict is not 'erased'.")] = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Store the erased model of a run with its report, and read it back.

    Its version is the first 12 digits of its sha256. With a NUMBER it is also that of MLflow, if MLflow has just this model
    under it. The same command completes a stopped publish.

    Example: tverase publish bomb --to s3://models/tverase
    """
    from ._storage_files import publish as publish_run

    said = publish_run(run, to, _tell, unproved=unproved)
    typer.echo(json.dumps(said) if as_json else f"published {said['name']}@{said['version']} in {said['store']}")


def fetch(
    ref: Annotated[str, typer.Argument(metavar="REF", help="NAME, NAME@VERSION, or a whole sha256.")],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="A new folder.")],
    store: From = "",
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Write a published version to a folder, after every file is compared with its sha256.

    Example: tverase fetch bomb --to bomb-erased
    """
    from tverase.files import sha256
    from tverase.stores import open_store

    from ._storage_files import resolve

    opened = open_store(store)
    digest = resolve(opened, ref)
    if not to.is_dir() or sha256(to) != digest:
        if to.exists() and (not to.is_dir() or any(to.iterdir())):
            raise ConfigError(f"{to} is there already and holds something else; name a new folder.")
        opened.get(digest, to, _tell)
    typer.echo(json.dumps({"digest": digest, "folder": str(to)}) if as_json else f"fetched {digest[:12]} to {to}")


@store_app.command("list")
def list_(store: From = "", as_json: AsJson = False) -> None:  # noqa: FBT002
    """The published versions, with their verdicts and sizes."""
    from tverase.stores import open_store

    from ._storage_files import versions

    opened = open_store(store)
    shown = versions(opened)
    if as_json:
        typer.echo(json.dumps(shown))
        return
    for row in shown:
        also = "".join(f"  @{version}" for version in row["also"])
        size = f"{row['files']} files, {row['bytes'] / 1e6:.1f} MB"
        typer.echo(f"{row['name']}@{row['version']}  {row['verdict']}  {size}{also}")
    if not shown:
        typer.echo(f"nothing is published in {opened.place}")


def _tell(progress: Progress) -> None:
    """A line that is written over, on a terminal only."""
    if sys.stderr.isatty():
        end = "\n" if progress.done == progress.total else ""
        sys.stderr.write(f"\r\033[K{progress.what} ({progress.done} of {progress.total}){end}")
