"""Digits through the pipeline's own steps, and under examination. Outputs stay in work/benchmarks, so reruns resume."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from tasks._all import chosen
from tasks._main import quiet, set_threads
from tverase.attacks.directions import Counter
from tverase.bars import show
from tverase.bounds import Bound
from tverase.complexity import Halving, Worst, worst_input
from tverase.config import Params
from tverase.files import read_json
from tverase.judges.base import Judge, met
from tverase.models.base import Meter
from tverase.models.digits import CLASSES, Digits
from tverase.registry import built
from tverase.rng import generator
from tverase.sampling import Sampling, draw
from tverase.vector import TaskVector

from ._runs import WORK, inside

MODEL = Path("models/digits")


@dataclass(frozen=True)
class Examined:
    """One model under examination for one digit. All models are drawn from the same noise."""

    model: Digits
    judge: Judge
    digit: str
    sampling: Sampling
    seed: int

    def less(self, vector: TaskVector, alpha: float) -> Self:
        """The same examination of the model less `alpha` times a vector."""
        return replace(self, model=self.model.with_weights(vector.apply(self.model.weights(), alpha)))

    @cached_property
    def counter(self) -> Counter:
        """What counts in how many images of an input the digit is seen."""
        return Counter(self.model, self.model.space(), self.judge, self.digit, self.sampling, self.seed)

    def worst(self, n: int) -> Worst:
        """The worst input of the grid of complexity `n`, scored on fresh images."""
        return worst_input(self.counter.count, self.model.space().grid(n), Halving(), f"complexity {n}")

    def others(self, images: int) -> Bound:
        """How often the other nine digits' own codes draw them, `images` of each."""
        names = [name for name in CLASSES if name != self.digit for _ in range(images)]
        drawn = draw(self.model, self.model.encode(names), generator(self.seed, "others"), self.sampling)
        return Bound(int(met(self.judge, drawn, names).sum()), len(names))


@dataclass(frozen=True)
class DigitCase:
    """One digit and seed: parameters, the vector, strength.json, and the base model under examination."""

    params: Params
    vector: TaskVector
    strength: dict[str, Any]  # empty if no strength was chosen
    examined: Examined

    def edited(self, alpha: float) -> Examined:
        """The examination of the model less `alpha` times the vector."""
        return self.examined.less(self.vector, alpha)

    @property
    def chosen(self) -> float | None:
        """The smallest strength that was confirmed."""
        alpha = self.strength["smallest"]
        return None if alpha is None else float(alpha)


def digit_case(digit: int, seed: int, *overrides: str, choose: bool) -> DigitCase:
    """The plain vector, or with `choose` the hardened one and its strength, by the steps of params/digits.yaml."""
    quiet()
    model = MODEL.resolve()
    judge = {"kind": "cnn", "file": str(model / "judge.safetensors")}
    given = [f'concepts=["{digit}"]', f"seed={seed}", f"model={model}", f"judge={judge}", *overrides]
    params = Params.load(Path("params/digits.yaml"), given)
    set_threads(params)
    last, made = ("choose_strength", "hardened") if choose else ("build_vector", "vector")
    folder = WORK / "digits" / "-".join([f"seed-{seed}", *overrides]).replace("/", "-")
    folder.mkdir(parents=True, exist_ok=True)
    with inside(folder):
        for step in _until(params, last):
            with show(f"digit {digit} seed {seed} {step.name}") as tell:
                step.execute(params, tell)
        vector = TaskVector.load(params.out / f"{made}.safetensors")
        found = read_json(params.out / "strength.json") if choose else {}
    base = Digits.load(model).metered(Meter())
    # A seed of its own: what scores shares no noise with what tuned.
    examined = Examined(base, built("judge", judge).open(), CLASSES[digit], params.sampling, 1000 + seed)
    return DigitCase(params, vector, found, examined)


def _until(params: Params, last: str) -> Iterator[Any]:
    for step in chosen(params):
        yield step
        if step.name == last:
            return


def together(bounds: Sequence[Bound]) -> Bound:
    """All counts in one."""
    return Bound(sum(b.successes for b in bounds), sum(b.trials for b in bounds))
