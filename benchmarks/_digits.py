"""Digits under examination, for the benchmarks of the digit experiment. Outputs stay in work/benchmarks, so reruns resume."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks import digit_strength, digit_vectors
from tasks._digits import JUDGE, out
from tasks._main import quiet, set_threads
from tasks._show import show
from tasks._step import Step
from tverase.config import Params
from tverase.files import read_json
from tverase.judges.cnn import CnnJudge
from tverase.models.base import Meter
from tverase.models.digits import Digits
from tverase.unconditional import Examined
from tverase.vector import TaskVector

from ._runs import WORK, inside

MODEL = Path("models/digits")


@dataclass(frozen=True)
class DigitCase:
    """One digit and seed: parameters, vectors, what the search said, and the base model under examination."""

    params: Params
    vectors: dict[str, TaskVector]
    strength: dict[str, Any]  # by vector; empty if it was not searched
    examined: Examined

    def edited(self, method: str, alpha: float) -> Examined:
        """The examination of the model less `alpha` times a vector."""
        return self.examined.less(self.vectors[method], alpha)

    def picked(self, method: str) -> float | None:
        """The strength that the search picked."""
        alpha = self.strength[method]["safe_alpha"]
        return None if alpha is None else float(alpha)


def digit_case(
    digit: int, seed: int, methods: Sequence[str], *, search: bool, overrides: Sequence[str] = ()
) -> DigitCase:
    """The vectors, and with `search` the strengths, through the pipeline's own steps."""
    quiet()
    model = MODEL.resolve()
    chosen = [
        f"digits.digit={digit}",
        f"seed={seed}",
        f"digits.model={model}",
        f"digits.vectors.methods={list(methods)}",
    ]
    params = Params.load(Path("params.yaml"), [*chosen, *overrides])
    set_threads(params)
    folder = WORK / "digits" / f"seed-{seed}-{'-'.join(methods)}"
    folder.mkdir(parents=True, exist_ok=True)
    with inside(folder):
        for step in _steps(search=search):
            with show(f"digit {digit} seed {seed} {step.name}") as tell:
                step.execute(params, tell)
        vectors = {m: TaskVector.load(out(params) / "vectors" / f"{m}.safetensors") for m in methods}
        found = read_json(out(params) / "strength.json")["vectors"] if search else {}
    base, judge = Digits.load(model).metered(Meter()), CnnJudge.load(model / JUDGE)
    # A seed of its own: what scores shares no noise with what tuned.
    examined = Examined(base, judge, digit, params.digits.sampling, 1000 + seed)
    return DigitCase(params, vectors, found, examined)


def _steps(*, search: bool) -> Iterator[Step]:
    yield digit_vectors.STEP
    if search:
        yield digit_strength.STEP
