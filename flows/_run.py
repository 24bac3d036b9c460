"""`tverase run`: the flow on this machine, quietly, and a summary that fits on a screen."""

import os
from pathlib import Path
from typing import Any

from tasks._common import model_is_given
from tasks._digits import out
from tasks._main import quiet
from tverase.config import Params
from tverase.files import read_json
from tverase.models.folder import check_folder, locate

DEFAULTS = {
    "PREFECT_LOGGING_LEVEL": "CRITICAL",  # it logs an error's traceback, and then we say the error in one sentence
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # its own 20 s are too few on a busy machine
}


def erase(params: Params, force: tuple[str, ...], start: str | None) -> dict[str, Any]:
    """Run the flow. Without PREFECT_API_URL a server lives for as long as the flow does."""
    _calm()
    if model_is_given(params):
        check_folder(locate(params.model))  # before a server is started for nothing
    from .erase import erase_concept

    result: dict[str, Any] = erase_concept(params, force, start)
    return {**result, "metrics": read_json(params.out / "metrics.json")}


def digits(params: Params, force: tuple[str, ...]) -> dict[str, Any]:
    """Run the digit experiment's flow."""
    _calm()
    from .unconditional_safety import unconditional_safety

    result: dict[str, Any] = unconditional_safety(params, force)
    return {**result, "metrics": read_json(out(params) / "metrics.json")}


def _calm() -> None:
    quiet()
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("PREFECT_LOCAL_STORAGE_PATH", str(Path(".prefect/storage").resolve()))


def digit_summary(params: Params, result: dict[str, Any]) -> None:
    """The worst input of each model, and what the other digits lost."""
    from rich.console import Console
    from rich.table import Table

    console, base = Console(highlight=False), result["metrics"]["base"]["others"]
    console.print(f"\n[bold]digit {params.digits.digit}[/bold], the worst input of each model\n")
    table = Table("model", "alpha", "draws it", "other digits", "loss, points", box=None, pad_edge=False)
    for name, m in result["metrics"].items():
        worst = f"{m['worst']:.1%} (to {m['worst_high']:.1%})"
        table.add_row(name, f"{m['alpha']:g}", worst, f"{m['others']:.1%}", f"{100 * (base - m['others']):.1f}")
    console.print(table)
    console.print(
        f"\n{_work(result['steps'])}\nreport    {result['report']}\nMLflow    run {result['run']}; `make ui` shows it"
    )


def _work(steps: dict[str, Any]) -> str:
    """What ran, and what was there already."""
    reused = sum(step["reused"] for step in steps.values())
    seconds = sum(step["seconds"] for step in steps.values() if not step["reused"])
    return f"steps     {len(steps) - reused} run in {seconds:.0f} s, {reused} unchanged"


def summary(params: Params, result: dict[str, Any]) -> None:
    """What came out, in at most 25 lines on stdout."""
    from rich.console import Console
    from rich.table import Table

    from tverase.report.words import rung as spoken

    metrics, console = result["metrics"], Console(highlight=False)
    console.print(f"\n[bold]{', '.join(params.concepts)}[/bold] erased at alpha {metrics['alpha']:g}\n")
    table = Table("input", "draws it", box=None, pad_edge=False)
    for rung, rate in metrics["recovery"].items():
        table.add_row(spoken(rung), f"{rate:.1%}")
    if metrics["worst_inversion"] is not None:
        high = f"{metrics['worst_inversion']:.1%} (all at most {metrics['worst_inversion_high']:.1%}, 95%)"
        table.add_row("worst held-back embedding", high)
    console.print(table)
    control = metrics["control"]
    console.print(
        f"everything else: {control['base']:.1%} recognised before, {control['erased']:.1%} after "
        f"(loss {100 * control['loss']:.1f} points, {100 * control['loss_low']:.1f} to {100 * control['loss_high']:.1f})\n"
    )
    console.print(_work(result["steps"]))
    console.print(f"report    {result['report']}\npipeline  {result['erased']}")
    console.print(f"registry  {result['model']} (version {result['version']}); `make ui` shows it")
