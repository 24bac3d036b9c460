"""Whole runs of the pipeline's steps in folders of their own, so that measures never touch outputs/."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks._all import chosen
from tasks._main import quiet, set_threads
from tverase.bars import show
from tverase.config import Params
from tverase.errors import Infeasible
from tverase.files import read_json
from tverase.judges.base import Judge
from tverase.judges.embedded import EmbeddedJudge

WORK = Path("work/benchmarks")
# Enough images to prove 5% of the worst of a dozen inputs together; no curve for people.
PROVING = ["evaluate.images=160", "evaluate.images_each=160", "choose_strength.frontier=[]"]


@dataclass(frozen=True)
class Run:
    """What a finished run left: its JSON files, and the seconds of each step."""

    metrics: dict[str, Any]
    hardening: dict[str, Any]
    strength: dict[str, Any]
    evaluation: dict[str, Any]
    seconds: dict[str, float]

    @property
    def feasible(self) -> bool:
        """Whether a strength was found that meets both bounds."""
        return bool(self.strength["feasible"])


def run_steps(folder: Path, overrides: list[str], seed_from: Path | None = None) -> Run:
    """Every step behind the model in `folder`, reusing valid results.

    seed_from: a finished run whose outputs are copied first, so that steps with the same key do not run again.
    A run without a feasible strength is measured at the smallest one that was confirmed.
    """
    params, seconds = _steps(folder, ["choose_strength.when_infeasible=safest", *overrides], seed_from)
    read = {
        "metrics": "metrics.json",
        "hardening": "hardening.json",
        "strength": "strength.json",
        "evaluation": "evaluation/evaluation.json",
    }
    return Run(**{key: read_json(folder / params.out / path) for key, path in read.items()}, seconds=seconds)


def steps_until(folder: Path, overrides: list[str], last: str, seed_from: Path | None = None) -> Params:
    """The same steps, no further than `last`."""
    return _steps(folder, ["choose_strength.when_infeasible=safest", *overrides], seed_from, last)[0]


def _steps(
    folder: Path, overrides: list[str], seed_from: Path | None, last: str | None = None
) -> tuple[Params, dict[str, float]]:
    params = prepared(overrides)
    if seed_from is not None and not folder.exists():
        shutil.copytree(seed_from, folder)
    folder.mkdir(parents=True, exist_ok=True)
    seconds = {}
    with inside(folder):
        for step in chosen(params):
            with show(step.name) as tell:
                seconds[step.name] = step.execute(params, tell).seconds
            if step.name == last:
                break
    return params, seconds


def method_case(concepts: str, seed: int, recipe: str = "default") -> tuple[Path, list[str]]:
    """Folder and overrides of a run of the whole method, shared by the measures that look at it: `bomb`, `dagger+knife`."""
    folder = WORK / "method" / f"{concepts}-{seed}-{recipe}".replace(" ", "-")
    return folder, [f"concepts={concepts.split('+')}", f"seed={seed}", *PROVING]


def prepared(overrides: list[str]) -> Params:
    """params.yaml with the shipped model and judges, to be found from any folder; a quiet process with its threads."""
    quiet()
    home = Path.cwd()
    judge = f"{{kind: embedded, folder: {home / 'models/judges'}}}"
    models = [f"model={home / 'models/emoji-sd'}", f"judge={judge}"]
    params = Params.load(Path("params.yaml"), [*models, *overrides])
    set_threads(params)
    return params


def shipped_judge() -> Judge:
    """The judge of the embedded world's objects and styles."""
    return EmbeddedJudge().open()


def try_steps(folder: Path, overrides: list[str], seed_from: Path | None = None) -> Run | str:
    """The same, or the reason why nothing erases."""
    try:
        return run_steps(folder, overrides, seed_from)
    except Infeasible as error:
        return str(error)


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    home = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(home)
