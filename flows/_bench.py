"""`tverase bench`, `ladder`, `examine` and `attack`: what still gets through, and what it costs."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

Concepts = Annotated[
    list[str], typer.Option("--concept", metavar="FILE", help="A concept file or name; once for each.")
]
Seeds = Annotated[list[int], typer.Option("--seed", help="A seed; once for each. Default: that of the parameters.")]
Attacks = Annotated[
    list[str], typer.Option("--attack", metavar="NAME", help="Of `tverase list attacks`, or its settings as JSON.")
]
Quick = Annotated[bool, typer.Option("--quick", help="Few attacks, few images: minutes instead of hours.")]
Second = Annotated[
    str, typer.Option("--second-judge", metavar="NAME", help="A judge of another make, which has to agree.")
]
NeverTaught = Annotated[
    str,
    typer.Option(
        "--never-taught", metavar="PATH", help="A model that never learned the concept. {concept} is its name."
    ),
]
Erasers = Annotated[
    list[str], typer.Option("--eraser", metavar="NAME", help="Of `tverase list erasers`, or its settings as JSON.")
]
OURS = "Our erased model, instead of running the pipeline's steps; none leaves ours out."
Ours = Annotated[str, typer.Option("--ours", metavar="PATH", help=OURS)]
Images = Annotated[int | None, typer.Option("--images", min=1, help="Images of each finding, and again of the worst.")]
Seconds = Annotated[
    int | None, typer.Option("--seconds", min=0, help="The longest that a cell may take; 0 is no limit.")
]
Out = Annotated[Path | None, typer.Option("--out", help="The folder of the table.")]
Base = Annotated[
    str,
    typer.Option("--base", metavar="PATH_OR_ID", help="The model with the concept. Default: that of the parameters."),
]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a parameter: sampling.steps=20.")]
File = Annotated[Path, typer.Option("--params", help="The parameters: model, judge, sampling, device.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
PARAMS = Path("params.yaml")


def bench(
    quick: Quick = False,
    concept: Concepts = [],  # noqa: B006 - typer makes a new list
    seed: Seeds = [],  # noqa: B006
    eraser: Erasers = [],  # noqa: B006
    attack_: Attacks = [],  # noqa: B006
    row: Annotated[list[str], typer.Option("--row", metavar="PATH", help="One more model folder, as a row.")] = [],  # noqa: B006
    ours: Ours = "",
    never_taught: NeverTaught = "",
    second_judge: Second = "",
    images: Images = None,
    seconds: Seconds = None,
    runner: Annotated[str, typer.Option(help="threads, or ray (extra `ray`).")] = "threads",
    workers: Annotated[int, typer.Option(min=0, help="Parts side by side; 0: as many as there are cores.")] = 0,
    address: Annotated[str, typer.Option(help="Of a Ray cluster that is there, ray://HOST:10001.")] = "",
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of each part, on Ray.")] = 0,
    retry: Annotated[bool, typer.Option("--retry", help="Run again what failed before.")] = False,
    out: Out = None,
    set_: Set = [],  # noqa: B006
    params: File = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Compare erasers: rows x attacks x concepts x seeds, with controls, two judges and the cost of each cell.

    Finished cells are kept: a run that was stopped goes on. Exit code 12: some cells failed, the others are there.

    Example: tverase bench --quick --concept bomb
    """
    from flows._bench_plan import Options, table
    from flows._bench_run import fill, require_whole, say

    options = Options(
        quick=quick, concepts=concept, seeds=seed, erasers=eraser, attacks=attack_, never_taught=never_taught,
        ours=ours, second_judge=second_judge, images=images, seconds=seconds, out=out, folders=row,
    )  # fmt: skip
    plan = table(_load(params, set_, "", concept), options)
    result = fill(plan, runner, workers, address, gpus, retry=retry)
    say(result, as_json=as_json)
    require_whole(result)


def ladder(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A model folder, whoever made it, or a hub id.")],
    concept: Concepts = [],  # noqa: B006
    base: Base = "",
    quick: Quick = False,
    seed: Seeds = [],  # noqa: B006
    attack_: Attacks = [],  # noqa: B006
    never_taught: NeverTaught = "",
    second_judge: Second = "",
    images: Images = None,
    seconds: Seconds = None,
    out: Out = None,
    set_: Set = [],  # noqa: B006
    params: File = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Try every attack on a model folder, from the plain name up to its weights, and write the page.

    Exit code 12: some cells failed, the others are there.

    Example: tverase ladder outputs/bomb/erased --concept bomb
    """
    from flows._bench_plan import Options
    from flows._bench_plan import ladder as planned
    from flows._bench_run import climb, require_whole, say

    options = Options(
        quick=quick, concepts=concept, seeds=seed, attacks=attack_, never_taught=never_taught, second_judge=second_judge,
        images=images, seconds=seconds, out=out, more={"retain_images": 4},
    )  # fmt: skip
    result = climb(planned(_load(params, set_, base, concept), options, path))
    say(result, as_json=as_json)
    require_whole(result)


def attack(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of `tverase list attacks`, or its settings as JSON.")],
    path: Annotated[str, typer.Argument(metavar="PATH", help="The model folder that is attacked, or a hub id.")],
    concept: Concepts = [],  # noqa: B006
    base: Base = "",
    seed: Annotated[int | None, typer.Option("--seed", help="Of the attack.")] = None,
    second_judge: Second = "",
    images: Images = None,
    seconds: Seconds = None,
    out: Out = None,
    set_: Set = [],  # noqa: B006
    params: File = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Run one attack on one model folder and on its base model; findings are exported for other tools.

    Prompts become a CSV, and embeddings textual-inversion files, which `load_textual_inversion` of diffusers reads.

    Example: tverase attack concept-inversion outputs/bomb/erased --concept bomb
    """
    from flows._bench_plan import Options
    from flows._bench_plan import ladder as planned
    from flows._bench_run import climb, export, require_whole, say

    options = Options(
        concepts=concept, seeds=[] if seed is None else [seed], attacks=[name], second_judge=second_judge, images=images,
        seconds=seconds, out=out or Path("outputs") / f"attack-{Path(path).name}", more={"retain_images": 4},
    )  # fmt: skip
    plan = planned(_load(params, set_, base, concept), options, path)
    result = climb(plan)
    say({**result, "exported": export(plan)}, as_json=as_json)
    require_whole(result)


def examine(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The model with the concept: a folder or a hub id.")],
    erased: Annotated[str, typer.Argument(metavar="ERASED", help="The model without it, whoever made it.")],
    concept: Concepts = [],  # noqa: B006
    out: Annotated[Path, typer.Option("--out", help="The folder of the report.")] = Path("outputs/examined"),
    set_: Set = [],  # noqa: B006
    params: File = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Score an erased model that somebody else made as ours are scored, and write the same report.

    Exit code 0 means: proved. 11 means: tested, and not proved.

    Example: tverase examine stable-diffusion my-erased-model --concept concepts/van-gogh.yaml
    """
    from flows._examine import examined, require_proved

    result = examined(_load(params, set_, base, concept), erased, out)
    typer.echo(json.dumps(result) if as_json else f"{result['title']}\n{result['why']}\n\nreport    {result['report']}")
    require_proved(result)


def _load(path: Path, overrides: list[str], model: str, concepts: list[str]) -> Any:
    """The parameters; without a file they are the defaults."""
    from tverase.config import Params

    given = [*overrides, *([f"model={json.dumps(model)}"] if model else [])]
    given += [f"concepts={json.dumps(concepts)}"] if concepts else []
    return Params.load(path, given) if path.exists() or path != PARAMS else Params.load(Path(os.devnull), given)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (bench, ladder, attack, examine):
        app.command()(command)
