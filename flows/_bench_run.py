"""Fills a table: as a Prefect flow, or one part after the other in this process; and says what came out."""

import json
import sys
from typing import Any, cast

import typer

from tasks._bench import Keys, execute, finished
from tasks._locks import STATE, locked
from tasks._main import quiet
from tverase.bars import show
from tverase.bench.export import export_findings
from tverase.bench.outcome import Partial
from tverase.bench.page import PAGE, write_all
from tverase.bench.plan import Plan
from tverase.bench.table import build
from tverase.bench.words import headline, lead, notes
from tverase.concepts import slug
from tverase.errors import ConfigError, unknown
from tverase.progress import Progress

from ._server import calm, reach

RUNNERS = ("threads", "ray")


def fill(plan: Plan, runner: str, workers: int, address: str, gpus: float, *, retry: bool) -> dict[str, Any]:
    """Through the flow. Without PREFECT_API_URL or `make serve` a server lives as long as this process."""
    if runner not in RUNNERS:
        raise ConfigError(f"{unknown('runner', runner, RUNNERS)}.")
    if runner != "ray" and (address or gpus):
        raise ConfigError("--address and --gpus are of Ray; add --runner ray.")
    if runner == "ray":
        from ._ray import require_installed

        require_installed()
    quiet()
    calm()
    answers = reach()
    from .benchmark import run

    answers()
    return run(plan, cast(Any, runner), workers, address, gpus, retry=retry)


def climb(plan: Plan) -> dict[str, Any]:
    """In this process, one part after the other; nothing is recorded in MLflow."""
    quiet()
    counts = {"run": 0, "reused": 0}
    with locked(STATE / f"bench-{slug(str(plan.out))}.lock", f"the table in {plan.out}"), show("ladder") as tell:
        for stage in plan.stages():
            keys = Keys()
            for done, work in enumerate(stage):
                tell(Progress(f"filling the table: {work.stage}", done, len(stage), work.name))
                keyed = keys.of(work)
                ran = finished(keyed, retry=True) is None
                if ran:
                    execute(work, keyed.key, keyed.code, keyed.hashes)
                counts["run" if ran else "reused"] += 1
        table = build(plan)
        files = write_all(table, plan.out)
    cells = [cell["state"] for cell in table["cells"]]
    states = {state: cells.count(state) for state in ("done", "failed", "refused")}
    return {
        "ahead": headline(table),
        "page": str(files[PAGE]),
        "parts": counts,
        "cells": states,
        "lead": lead(table),
        "notes": notes(table),
    }


def export(plan: Plan) -> list[str]:
    """The findings of a plan as files for other tools; their paths."""
    return [str(path) for path in export_findings(plan, plan.out / "findings")]


def say(result: dict[str, Any], *, as_json: bool) -> None:
    """What came out, on stdout."""
    if as_json:
        typer.echo(json.dumps(result))
        return
    said = [result["ahead"], *(text for text in (*result.get("lead", ()), *result.get("notes", ())) if text)]
    cells = ", ".join(f"{number} {state}" for state, number in result["cells"].items() if number)
    parts = f"parts     {result['parts']['run']} run, {result['parts']['reused']} unchanged"
    lines = [*said, "", f"cells     {cells}", parts, *(f"exported  {path}" for path in result.get("exported", ()))]
    typer.echo("\n".join([*lines, f"page      {result['page']}"]))


def require_whole(result: dict[str, Any]) -> None:
    """Nothing if every cell is there or was refused; otherwise `Partial`, whose exit code is its own."""
    sys.stdout.flush()
    if number := result["cells"]["failed"]:
        raise Partial(
            f"{number} cells failed, and the others are there; the page says why. Run again with --retry, and with more "
            "time (--seconds) where that was too short."
        )
