"""`tverase concept new`, `tverase concept check` and `tverase prompts add`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tverase.concepts.check import Checked

concepts = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Concept files: write one, check one on a base model."
)
prompts = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Grow the prompts of a concept file.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="A concept file.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
AT_LEAST = 0.3  # as make_images.at_least


@concepts.callback()
def _concepts() -> None:
    """Concept files."""


@prompts.callback()
def _prompts() -> None:
    """Prompts of a concept file."""


@concepts.command()
def new(
    name: Annotated[str, typer.Argument(help="The concept, as in a prompt: van gogh.")],
    kind: Annotated[str, typer.Option(help="object, style, person, nsfw, class or topic.")] = "object",
    out: Annotated[Path | None, typer.Option(help="The file; otherwise concepts/NAME.yaml.")] = None,
) -> None:
    """Write a commented concept file, to be edited.

    Example: tverase concept new "van gogh" --kind style
    """
    from tverase.concepts.draft import write_draft

    typer.echo(write_draft(name, kind, out))


@concepts.command()
def check(
    file: File,
    model: Annotated[str, typer.Option("--model", metavar="PATH_OR_ID", help="The base model.")] = "",
    images: Annotated[int, typer.Option(min=1, max=64, help="Images of each prompt.")] = 4,
    set_: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a parameter.")] = [],  # noqa: B006
    params: Annotated[Path, typer.Option("--params", help="The parameters.")] = Path("params.yaml"),
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """Draw a few images of each prompt on the base model and ask the judge: which prompts and labels are usable.

    Exit code 5: the judge does not see the concept in what the base model draws.

    Example: tverase concept check concepts/van-gogh.yaml --model folder/stable-diffusion
    """
    from tasks._main import set_threads
    from tverase.concepts.check import check_concept, require_seen
    from tverase.config import Params
    from tverase.models.folder import open_model
    from tverase.registry import built

    given = [*set_, f"concepts={json.dumps([str(file)])}", *([f"model={json.dumps(model)}"] if model else [])]
    settings = Params.load(params, given)
    set_threads(settings)
    _say(settings.resolved.notices, settings.resolved.warnings)
    judge = built("judge", settings.judge_spec).open(settings.runtime.device)
    base = open_model(settings.model, settings.runtime.device)
    for concept in settings.concept_list:
        lines = list(check_concept(base, concept, judge, settings.sampling, settings.seed, images))
        typer.echo(_as_json(concept.name, lines) if as_json else _table(concept.name, judge.name, lines))
        require_seen(concept, lines, judge, AT_LEAST)


@prompts.command()
def add(
    file: File,
    texts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="Prompts that draw the concept.")],
    by: Annotated[str, typer.Option(help="Who found them.")] = "",
    attack: Annotated[str, typer.Option(help="The attack that found them.")] = "",
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """Add prompts to a concept file, each to the set that its hash decides: tune, validate or report.

    Example: tverase prompts add concepts/bomb-sd.yaml "a lit fuse on a black ball" --by anna
    """
    from tverase.concepts.prompts import add_prompts

    new = add_prompts(file, texts, by, attack)
    if as_json:
        typer.echo(json.dumps(new))
        return
    for prompt, role in new.items():
        typer.echo(f"{role:<9} {prompt}")
    typer.echo(f"{len(new)} added to {file}, {len(texts) - len(new)} were there already.")


def _say(notices: tuple[str, ...], warnings: tuple[str, ...]) -> None:
    for text in notices:
        typer.echo(f"note: {text}", err=True)
    for text in warnings:
        typer.echo(f"warning: {text}", err=True)


def _as_json(name: str, lines: "list[Checked]") -> str:
    found: list[dict[str, Any]] = [
        {"kind": line.kind, "what": line.what, **line.seen.as_dict(), "usable": line.usable(AT_LEAST)} for line in lines
    ]
    return json.dumps({"concept": name, "lines": found})


def _table(name: str, judge: str, lines: "list[Checked]") -> str:
    head = f"{name}, judged by {judge}\n\n{'':<8}{'seen':<10}{'kind':<14}prompt or label"
    rows = (
        f"{'ok' if line.usable(AT_LEAST) else 'weak':<8}{f'{line.seen.successes} of {line.seen.trials}':<10}"
        f"{line.kind:<14}{line.what}"
        for line in lines
    )
    weak = sum(not line.usable(AT_LEAST) for line in lines)
    return "\n".join([head, *rows, "", f"{len(lines) - weak} of {len(lines)} lines are usable."])
