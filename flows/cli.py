"""The command `tverase`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from flows._bench import register as register_bench
from flows._concepts import concepts, prompts
from flows._lineage_cli import lineage
from flows._probe import probe
from flows._review import review_app
from flows._storage import fetch, publish, store_app

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # markup would take `[skull]` for a style and leave it out
    help="Take a concept out of a text-to-image model with task vectors, and prove that it is gone.",
    epilog="Exit codes: 0 done, 2 parameters, 3 data, 4 model, 5 nothing to erase, 6 storage, 7 network, "
    "8 numbers, 9 MLflow, 10 no strength meets both bounds, 11 not proved: refuted, unconfirmed or untested, "
    "12 some cells of a table failed, 130 stopped by Ctrl-C, 143 by SIGTERM.",
)

Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a parameter: finetune.steps=100.")]
ModelAt = Annotated[str, typer.Option("--model", metavar="PATH_OR_ID", help="A Stable Diffusion folder, or a hub id.")]
File = Annotated[Path, typer.Option("--params", help="The parameters.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
PARAMS = Path("params.yaml")

app.add_typer(concepts, name="concept")
app.add_typer(prompts, name="prompts")


def _version(asked: bool) -> None:
    if asked:
        from importlib import metadata

        typer.echo(f"tverase {metadata.version('tverase')}")
        raise typer.Exit


@app.callback()
def _app(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take a concept out of a text-to-image model with task vectors, and prove that it is gone."""


def _steps() -> list[str]:
    """The names of the steps, for a shell that completes them; nothing heavy is imported."""
    import tasks

    return sorted(path.stem for path in Path(tasks.__path__[0]).glob("[!_]*.py"))


def _kinds() -> list[str]:
    from flows._list import PLURALS

    return list(PLURALS)


def _load(path: Path, overrides: list[str], model: str) -> Any:
    from tverase.config import Params

    return Params.load(path, _overrides(overrides, model))


def _overrides(given: list[str], model: str) -> list[str]:
    return [*given, *([f"model={json.dumps(model)}"] if model else [])]


@app.command()
def init(
    concept: Annotated[str, typer.Option("--concept", metavar="NAME", help="What to erase, as in a prompt.")] = "bomb",
    kind: Annotated[str, typer.Option(help="object, style, person, nsfw, class or topic.")] = "object",
    model: ModelAt = "stable-diffusion-v1-5/stable-diffusion-v1-5",
) -> None:
    """Begin a project: params.yaml, dvc.yaml, prefect.yaml and a concept file.

    They are written into the current folder. Nothing is overwritten, fetched or run.

    Example: tverase init --concept "van gogh" --kind style --model path/to/stable-diffusion
    """
    from flows._init import init as begin

    written = begin(concept, kind, model)
    said = f"written: {', '.join(map(str, written))}\nnext: edit {written[0]}, above all its judge and retain prompts; then\n"
    typer.echo(f"{said}  tverase concept check {written[0]}\n  tverase run")


@app.command()
def run(
    set_: Set = [],  # noqa: B006 - typer makes a new list
    model: ModelAt = "",
    from_: Annotated[
        str,
        typer.Option("--from", metavar="STEP", autocompletion=_steps, help="Begin here; earlier results are believed."),
    ] = "",
    force: Annotated[
        list[str], typer.Option("--force", metavar="STEP", autocompletion=_steps, help="Run this step again.")
    ] = [],  # noqa: B006
    strict: Annotated[
        bool, typer.Option("--strict", help="Run again what other versions of torch, diffusers or transformers made.")
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Leave with code 6 if another process runs the same concepts.")
    ] = False,
    params: File = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Erase: run every step that is not up to date.

    The report and the registry come last. Exit code 0 means: proved.

    Example: tverase run --set 'concepts=[skull]' --set finetune.steps=100
    """
    from flows._outcome import require_proved
    from flows._run import erase, summary
    from tasks._all import require_steps

    overrides = _overrides(set_, model)
    require_steps([*force, *([from_] if from_ else [])])
    result = erase(params, overrides, wait=not no_wait, force=force, start=from_ or None, strict=strict)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        summary(_load(params, set_, model), result)
    require_proved(result)


@app.command()
def status(set_: Set = [], model: ModelAt = "", params: File = PARAMS, as_json: AsJson = False) -> None:  # noqa: B006
    """Which steps are up to date, which would run, and why.

    With --json: for each step its state, the key of its source, and the reasons.
    """
    from dataclasses import asdict

    from tasks._common import model_is_given
    from tasks._status import states
    from tverase.models.folder import check_folder

    given = _load(params, set_, model)
    if model_is_given(given) and Path(given.model).is_dir():
        check_folder(Path(given.model))
    found = states(given)
    if as_json:
        typer.echo(json.dumps({name: asdict(state) for name, state in found.items()}))
        return
    for name, state in found.items():
        typer.echo(f"{name:<16} {state.state}" + "".join(f"\n{'':<16} - {why}" for why in (*state.why, *state.notes)))


@app.command()
def draw(
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    out: Annotated[Path, typer.Option(help="The picture: base above, erased below, same noise.")] = Path("draw.png"),
    count: Annotated[int, typer.Option(min=1, max=64, help="How many images of each.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    set_: Set = [],  # noqa: B006
    model: ModelAt = "",
    params: File = PARAMS,
) -> None:
    """Draw a prompt with the base and the erased model, side by side."""
    from flows._draw import side_by_side

    typer.echo(side_by_side(_load(params, set_, model), prompt, count, seed, out))


@app.command()
def report(set_: Set = [], params: File = PARAMS, as_json: AsJson = False) -> None:  # noqa: B006
    """Write the report of the last run again, and say where it is."""
    from tasks.report import write

    path = write(_load(params, set_, ""), force=True)
    typer.echo(json.dumps({"report": str(path)}) if as_json else str(path))


@app.command("list")
def list_(
    kind: Annotated[
        str,
        typer.Argument(metavar="KIND", autocompletion=_kinds, help="attacks, erasers, judges, models or concepts."),
    ],
    as_json: AsJson = False,
) -> None:
    """Show what can be chosen by name, with one line and a paper each.

    It lists the built-in plug-ins and those of other installed packages.

    Example: tverase list judges
    """
    from flows._list import listed, table

    rows = listed(kind)
    typer.echo(json.dumps(rows) if as_json else table(rows))


register_bench(app)
app.command()(publish)
app.command()(fetch)
app.command()(lineage)
app.add_typer(store_app, name="store")
app.add_typer(review_app, name="review")
app.command()(probe)


def main() -> None:
    """The entry point: errors that we know are one sentence and an exit code."""
    from tasks._quiet import plainly, quiet

    quiet()
    with plainly():
        app()


if __name__ == "__main__":
    main()
