"""`tverase lineage`: the chain from a version back to the data, with every hash that can be compared."""

import json
from typing import Annotated

import typer

MARKS = {"same": "ok", "wrong": "WRONG", "unchecked": "-"}


def lineage(
    version: Annotated[
        str,
        typer.Argument(
            metavar="[VERSION]", help="bomb:3, bomb@champion, bomb, models:/tverase-bomb/3; default: newest."
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,  # noqa: FBT002
) -> None:
    """Print what made a version, back to the data, and compare every hash that can be compared.

    Exit code 3 if one does not match. `-` is a fact without a hash, or a file that is not on this machine.

    Example: tverase lineage bomb@champion
    """
    from dataclasses import asdict

    from tasks._chain import chain, wrong
    from tverase.errors import DataError

    links = chain(version)
    if as_json:
        typer.echo(json.dumps([asdict(link) for link in links]))
    else:
        about = ""
        for link in links:
            if link.about != about:
                typer.echo(link.about)
            about = link.about
            digest = f"  {link.digest[:12]}" if link.digest and link.digest[:12] != link.name else ""
            typer.echo(f"  {MARKS[link.state]:<6}{link.name}{digest}  {link.says}")
    if found := wrong(links):
        listed = "; ".join(f"{link.about}, {link.name}: {link.says}" for link in found)
        raise DataError(f"{len(found)} of {len(links)} links do not match: {listed}.")
