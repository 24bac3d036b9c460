"""`tverase review ...`: what a reviewer decides about registered versions."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tasks._review import Done
    from tverase.config import Params

review_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Review registered versions: approve or reject them, and promote one to the champion.",
)

Version = Annotated[
    str,
    typer.Argument(metavar="[VERSION]", help="bomb:3, bomb@candidate, bomb, models:/tverase-bomb/3; default: newest."),
]
By = Annotated[
    str, typer.Option(metavar="NAME", help="Who decides. Default: TVERASE_USER, git's user, or the account.")
]
Note = Annotated[str, typer.Option(metavar="TEXT", help="Why.")]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a parameter: review.reviewers=2.")]
File = Annotated[Path, typer.Option("--params", help="The parameters; the section `review` is the policy.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
PARAMS = Path("params.yaml")


@review_app.callback()
def _review() -> None:
    """Review registered versions."""


@review_app.command("list")
def list_(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Only this model: bomb.")] = "",
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Show the versions, newest first."""
    from tasks._review import listed

    rows = listed(name)
    head = ("version", "concept", "verdict", "worst bound", "retain loss", "status", "aliases", "age")
    typer.echo(json.dumps(rows) if as_json else _columns([head, *(tuple(_cells(row)) for row in rows)]))


@review_app.command()
def show(
    version: Version = "",
    files: Annotated[bool, typer.Option("--files", help="Download the files and compare their hashes too.")] = False,  # noqa: FBT002
    set_: Set = [],  # noqa: B006
    params: File = PARAMS,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Show all that a reviewer needs, and which gates of the policy are passed.

    Example: tverase review show bomb:3
    """
    from tasks._review import shown

    found = shown(version, _params(params, set_).review, files=files)
    typer.echo(json.dumps(found) if as_json else "\n".join(_described(found)))


@review_app.command()
def approve(
    version: Version = "",
    by: By = "",
    note: Note = "",
    set_: Set = [],  # noqa: B006
    params: File = PARAMS,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Approve a version. Who registered it cannot approve it.

    Example: tverase review approve bomb:3 --by "Jo Li" --note "pictures looked at"
    """
    from tasks._review import approve as say

    _tell(say(version, by, note, _params(params, set_).review), as_json=as_json)


@review_app.command()
def reject(
    note: Annotated[str, typer.Option(metavar="TEXT", help="Why; needed.")],
    version: Version = "",
    by: By = "",
    set_: Set = [],  # noqa: B006
    params: File = PARAMS,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Reject a version. It is never promoted, and later runs leave it as it is.

    Example: tverase review reject bomb:3 --note "draws a grenade"
    """
    from tasks._review import reject as say

    settings = _params(params, set_)
    _tell(say(version, by, note, settings.review, settings.register_.alias), as_json=as_json)


@review_app.command()
def promote(
    version: Version = "",
    by: By = "",
    note: Note = "",
    set_: Set = [],  # noqa: B006
    params: File = PARAMS,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Move the alias `champion` to a version that passes every gate of the policy.

    Exit code 11: a gate refuses it, and the sentence names the gate.

    Example: tverase review promote bomb:3
    """
    from tasks._review import promote as move

    _tell(move(version, by, note, _params(params, set_).review), as_json=as_json)


@review_app.command()
def rollback(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="The model: bomb.")] = "",
    by: By = "",
    note: Note = "",
    set_: Set = [],  # noqa: B006
    params: File = PARAMS,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Move the alias `champion` back to the version that had it before.

    Example: tverase review rollback bomb --note "complaints"
    """
    from tasks._review import rollback as move

    _tell(move(name, by, note, _params(params, set_).review), as_json=as_json)


@review_app.command()
def diff(
    one: Annotated[str, typer.Argument(metavar="A", help="A version: bomb@champion.")],
    other: Annotated[str, typer.Argument(metavar="B", help="Another version: bomb:3.")],
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Compare the parameters, figures and hashes of two versions.

    Example: tverase review diff bomb@champion bomb:3
    """
    from tasks._review_diff import difference

    found = difference(one, other)
    typer.echo(json.dumps(found) if as_json else "\n".join(_compared(found)))


def _params(path: Path, overrides: Sequence[str]) -> "Params":
    """The parameters; without a file of the default name its defaults, because a reviewer need not have a checkout."""
    from tverase.config import Params

    if path == PARAMS and not path.exists() and not overrides:
        return Params()
    return Params.load(path, overrides)


def _tell(done: "Done", *, as_json: bool) -> None:
    said = {"version": done.version, "event": done.event, "said": list(done.lines)}
    typer.echo(json.dumps(said) if as_json else "\n".join(done.lines))


def _cells(row: Mapping[str, Any]) -> Iterator[str]:
    yield row["version"]
    yield row["concept"]
    yield row["verdict"]
    yield _percent(row["worst_upper"])
    yield _percent(row["retain_loss"])
    status = f"{row['status']} by {row['reviewer']}" if row["reviewer"] else row["status"]
    yield status if row["open_findings"] in ("", "0") else f"{status}, {row['open_findings']} open findings"
    yield ", ".join(row["aliases"]) or "-"
    yield _age(row["created"])


def _percent(share: str | None) -> str:
    try:
        return f"{float(share or ''):.1%}"
    except ValueError:
        return "-"


def _age(created: float) -> str:
    """`3 h`, in the largest unit that is not zero."""
    seconds = max(0, int(time.time() - created))
    for name, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {name}"
    return f"{seconds} s"


def _columns(rows: Sequence[Sequence[str]], indent: str = "") -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join((indent + line).rstrip() for line in lines)


def _described(found: Mapping[str, Any]) -> Iterator[str]:
    """A version for the console."""
    tags, proof = found["tags"], found["evidence"]
    yield f"{found['version']}  {', '.join(found['aliases']) or 'no alias'}  {_age(found['created'])} old"
    yield f"verdict   {found['verdict']}: {proof['verdict'].get('why', 'its record cannot be read')}"
    yield f"author    {tags.get('author', 'not recorded')}"
    yield f"status    {', '.join(filter(None, (found['status'], found['reviewer'], tags.get('review_note'))))}"
    if proof["summary"]:
        yield from _measured(proof["summary"])
    yield "\ngates"
    gates = [("passed" if gate["passed"] else "refused", gate["name"], gate["says"]) for gate in found["gates"]]
    yield _columns(gates, "  ")
    mine = found["version"].rpartition(":")[2] == found["champion"].get("version")
    yield from ["\nit is the champion"] if mine else _beside(tags, found["champion"])
    yield "\nhashes and links"
    hashes = [(name, value) for name, value in tags.items() if name.endswith((".sha256", "git.commit"))]
    yield _columns([*hashes, *found["links"].items()], "  ")
    if found["events"]:
        yield "\ndecisions"
        yield _columns([(e["when"], e["action"], e["by"], e["note"]) for e in found["events"]], "  ")


def _measured(summary: Mapping[str, Any]) -> Iterator[str]:
    from tasks._review_page import figures, worst_rows
    from tverase.report.words import hits, percent, points, spoken_kind

    said = figures(summary)
    yield f"worst     at most {percent(said.worst_upper)} ({said.worst_input})"
    ends = f"{points(said.retain_lower)} to {points(said.retain_upper)}"
    yield f"retain    loss {points(said.retain_loss)} points ({ends})"
    yield "\nworst inputs"
    named = [(f"{row['concept']}: {spoken_kind(row['kind'])} {row['input']}", row) for row in worst_rows(summary)]
    yield _columns([(name, hits(row["erased"]), f"base {row['base']['rate']:.0%}") for name, row in named], "  ")
    yield from _lost(summary)


def _lost(summary: Mapping[str, Any]) -> Iterator[str]:
    from tasks._review_page import losses
    from tverase.report.words import percent

    if rows := [
        (label, f"{percent(p['base']['rate'])} -> {percent(p['erased']['rate'])}") for label, p in losses(summary)
    ]:
        yield "\nwhat was lost"
        yield _columns(rows, "  ")


def _beside(tags: Mapping[str, str], champion: Mapping[str, str]) -> Iterator[str]:
    if not champion:
        yield "\nno champion yet"
        return
    yield f"\nbeside the champion, version {champion['version']}"
    rows = [
        (name, champion.get(name, "-"), tags.get(name, "-"))
        for name in ("worst_upper", "retain_loss", "retain_upper", "alpha")
    ]
    yield _columns([("", "champion", "this version"), *rows], "  ")


def _compared(found: Mapping[str, Any]) -> Iterator[str]:
    for title in ("parameters", "figures", "hashes"):
        rows = [(name, *both) for name, both in found[title].items()]
        yield f"{title}{'' if rows else ': the same'}"
        if rows:
            yield _columns([("", *found["versions"]), *rows], "  ")
    yield from (f"note: {problem}" for problem in found["problems"])
