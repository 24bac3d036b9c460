"""`tverase run`: the flow on this machine, quietly, and a summary that fits on a screen."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks._common import model_is_given
from tasks._locks import require_free, run_lock
from tasks._main import quiet, require_possible
from tasks._quiet import leave_soon
from tasks._tracking import check_tracking
from tverase.config import Params
from tverase.errors import NetworkError, TveraseError
from tverase.files import read_json
from tverase.models.folder import check_folder, locate

from ._server import calm, reach


def erase(path: Path, overrides: Sequence[str], *, wait: bool = True, **how: Any) -> dict[str, Any]:
    """Run the flow with a file of parameters. Without PREFECT_API_URL or `make serve` a server lives as long as this process.

    wait: for another run of the same concepts; otherwise it is an error. how: `start`, `force` and `strict` of the flow.
    """
    quiet()
    calm()
    params = possible(path, overrides)
    for line in (*params.resolved.notices, *(f"warning: {text}" for text in params.resolved.warnings)):
        sys.stderr.write(f"{line}\n")
    if not wait:
        require_free(run_lock(params.name), f"the erasure in {params.out}")
    check_tracking()
    answers = reach()
    from .erase import erase_concept

    answers()
    with _answering():
        # A dictionary, whatever the state is called.
        result: Any = erase_concept(params_file=str(path), overrides=list(overrides), **how)
    measured = params.out / "metrics.json"
    return {**result, "metrics": read_json(measured) if measured.exists() else None}


@contextmanager
def _answering() -> Iterator[None]:
    """A Prefect server that is gone in the middle of a run is one sentence."""
    try:
        yield
    except TveraseError:
        raise
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and type(cause).__module__.partition(".")[0] not in ("httpx", "httpcore"):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        leave_soon(NetworkError.exit_code)  # Prefect would tell the server of each event, seven seconds for each
        raise NetworkError(
            f"the Prefect server does not answer any more ({type(cause).__name__}: {cause}); finished steps are kept: "
            "start it again (`make serve`), or unset PREFECT_API_URL, and repeat the command."
        ) from error


def possible(path: Path, overrides: Sequence[str]) -> Params:
    """The parameters of a file with their model looked at: what cannot work is found before a server is started for nothing."""
    params = Params.load(path, overrides)
    require_possible(params)
    if model_is_given(params):
        check_folder(locate(params.model))
    return params


def _work(steps: dict[str, Any]) -> str:
    """The steps that ran, and the unchanged ones."""
    reused = sum(step["reused"] for step in steps.values())
    seconds = sum(step["seconds"] for step in steps.values() if not step["reused"])
    return f"steps     {len(steps) - reused} run in {seconds:.0f} s, {reused} unchanged"


def summary(params: Params, result: dict[str, Any]) -> None:
    """What came out, in at most 25 lines on stdout; the verdict comes first."""
    from rich.console import Console
    from rich.markup import escape

    console, said = Console(highlight=False), result["verdict"]
    first = said["title"] if said["outcome"] == "erased" else f"{said['outcome'].capitalize()}: {said['title']}"
    console.print(f"[bold]{escape(first)}[/bold]\n{escape(said['why'])}\n")
    if result["metrics"] is not None:
        _numbers(console, result["metrics"])
    console.print(_work(result["steps"]))
    console.print(f"report    {result['report']}")
    if "erased" in result:
        console.print(f"pipeline  {result['erased']}")
        console.print(f"registry  {result['model']} (version {result['version']}); `make ui` shows it")
    else:
        console.print(f"MLflow    run {result['run']}; `make ui` shows it")


def _numbers(console: Any, metrics: dict[str, Any]) -> None:
    """The recovery rate of each input kind, and the retain accuracy of both models."""
    from rich.table import Table

    from tverase.report.words import spoken_kind as spoken

    table = Table("input", f"recovers it at alpha {metrics['alpha']:g}", box=None, pad_edge=False)
    for kind, rate in metrics["recovery"].items():
        table.add_row(spoken(kind), f"{rate:.1%}")
    if metrics["worst_inversion"] is not None:
        high = f"{metrics['worst_inversion']:.1%} (all at most {metrics['worst_inversion_high']:.1%}, 95%)"
        table.add_row("worst held-out embedding", high)
    console.print(table)
    retain = metrics["retain"]
    console.print(
        f"retain accuracy: {retain['base']:.1%} before, {retain['erased']:.1%} after "
        f"(loss {100 * retain['loss']:.1f} points, {100 * retain['loss_low']:.1f} to {100 * retain['loss_high']:.1f})\n"
    )
