"""How DVC runs a step: `python -m tasks STEP [--params FILE] [--out FOLDER] [KEY=VALUE ...]`, without Prefect."""

import argparse
import sys
from pathlib import Path

from tverase.bars import show
from tverase.config import Params
from tverase.errors import ConfigError, Infeasible
from tverase.progress import Tell

from ._all import ALL, STEPS, require_steps, require_unmixed
from ._infeasible import conclude
from ._locks import locked
from ._main import require_possible, set_threads
from ._quiet import plainly, quiet
from ._record import Record
from ._step import Step


def main() -> None:
    """Run the step that is named once and leave with its exit code; a mistake of the user's is one sentence on stderr."""
    quiet()
    with plainly():
        given = arguments(sys.argv[1:])
        require_steps([given.step], ALL)
        step = next(step for step in ALL if step.name == given.step)
        params = Params.load(given.params, given.overrides)
        if given.out not in (None, params.out):
            raise ConfigError(
                f"DVC looks for the outputs in {given.out}, and a run of {', '.join(params.concepts)} writes to {params.out}; "
                f"use `tverase run`, or write the concepts into {given.params} and run `python -m tasks._stages`."
            )
        require_possible(params)
        set_threads(params)
        with locked(step.lock_path(params), f"python -m tasks {step.name}"), show(step.name) as tell:
            require_unmixed(step, params)
            record = _executed(step, params, tell)
    word = "unchanged" if record.reused else f"done in {record.seconds:.0f} s"
    sys.stderr.write(f"{step.name}: {word}\n")


def arguments(given: list[str]) -> argparse.Namespace:
    """The step, the file of parameters, the folder that DVC expects the outputs in, and the overrides."""
    names = ", ".join(step.name for step in ALL)
    parser = argparse.ArgumentParser(
        "python -m tasks", description="Run one step without Prefect.", exit_on_error=False
    )
    parser.add_argument("step", metavar="STEP", help=f"one of {names}")
    parser.add_argument(
        "--params", type=Path, default=Path("params.yaml"), help="the parameters (default: params.yaml)"
    )
    parser.add_argument("--out", type=Path, help="the folder that DVC expects the outputs in; another one is an error")
    parser.add_argument("overrides", nargs="*", default=[], metavar="KEY=VALUE", help="a parameter, as in seed=1")
    try:
        return parser.parse_intermixed_args(given)
    except argparse.ArgumentError as error:
        raise ConfigError(f"{error}; write --params params/digits.yaml and KEY=VALUE.") from None


def _executed(step: Step, params: Params, tell: Tell) -> Record:
    """Where there is no strength to erase with, what an earlier run left behind the search goes, as in the flow."""
    try:
        return step.execute(params, tell)
    except Infeasible:
        records = {one.name: last for one in STEPS if one.shipped is None and (last := one.last(params)) is not None}
        conclude(params, records)
        raise


if __name__ == "__main__":
    main()
