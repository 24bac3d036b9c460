"""A strength search that was stopped goes on: every answer is kept, and a search that asks again is answered from there."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .bounds import Bound
from .errors import ModelError
from .files import dropped, read_json, read_tensors, remove, write_json, write_tensors
from .strength import Learn, Mend
from .trial import ModelTrial
from .vector import TaskVector


@dataclass
class Journal:
    """A `Trial` that keeps what it answers in `folder`, one file an answer; so do `learning` and `mending` beside it.

    A search asks the same questions again and gets the same answers, with all that they changed: the trial's random numbers,
    inputs and vector, and what the meter has counted. folder: of this search alone, another one for other parameters.
    """

    trial: ModelTrial
    folder: Path
    asked: int = 0

    def recovery(self, alpha: float, inputs: Sequence[str], images: int) -> list[int]:
        """As the trial's."""

        def again(_: list[int]) -> None:
            self.trial.calls += 1  # which decide the noise of the next images

        question = ["recovery", alpha, list(inputs), images]
        hits: list[int] = self._answered(question, lambda: self.trial.recovery(alpha, inputs, images), again)
        return hits

    def control(self, alpha: float, images: int) -> Bound:
        """As the trial's."""

        def again(seen: dict[str, int]) -> None:
            self.trial.remember(alpha, Bound(**seen))

        question = ["control", alpha, images]
        return Bound(**self._answered(question, lambda: asdict(self.trial.control(alpha, images)), again))

    def learning(self, learn: Learn) -> Learn:
        """The same `learn`, whose words are kept."""

        def answer(alpha: float, number: int) -> list[str]:
            path = self.folder / f"learned-{number}.safetensors"

            def ask() -> list[list[str]]:
                inputs, names = self.trial.inputs, learn(alpha, number)
                words = {f"cond/{n}": inputs.cond[name] for n, name in enumerate(names)}
                points = {f"point/{n}": inputs.points[name] for n, name in enumerate(names) if name in inputs.points}
                write_tensors(words | points, path)
                return [[name, inputs.concept[name].name] for name in names]

            return [
                name for name, _ in self._answered(["learn", alpha, number], ask, lambda known: self._know(known, path))
            ]

        return answer

    def mending(self, mend: Mend) -> Mend:
        """The same `mend`, whose vectors are kept."""

        def answer(names: Sequence[str]) -> None:
            path = self.folder / f"mended-{self.trial.became + 1}.safetensors"

            def ask() -> None:
                mend(names)
                self.trial.vector.save(path)

            self._answered(["mend", list(names)], ask, lambda _: self.trial.become(TaskVector.load(path)))

        return answer

    def _know(self, known: list[list[str]], path: Path) -> None:
        """Words that were learned are inputs of the trial again."""
        inputs, device = self.trial.inputs, self.trial.model.null.device
        concepts, tensors = {c.name: c for c in inputs.concept.values()}, read_tensors(path)[0]
        for number, (name, concept) in enumerate(known):
            inputs.concept[name] = concepts[concept]
            inputs.cond[name] = tensors[f"cond/{number}"].to(device)
            if (point := tensors.get(f"point/{number}")) is not None:
                inputs.points[name] = point.to(device)

    def _answered(self, question: list[Any], ask: Callable[[], Any], again: Callable[[Any], None]) -> Any:
        """What was answered before, once `again` has done what it changed; otherwise what `ask` answers."""
        self.asked += 1
        kept, meter = self._kept(question), self.trial.model.meter
        if kept is not None:
            try:
                again(kept["answer"])
            except (ModelError, KeyError, TypeError, ValueError) as error:
                dropped(self._path(self.asked), error)
            else:
                meter.evaluations += kept["evaluations"]
                meter.images += kept["images"]
                return kept["answer"]
        evaluations, images = meter.evaluations, meter.images
        answer = ask()
        spent = {"evaluations": meter.evaluations - evaluations, "images": meter.images - images}
        write_json(self._path(self.asked), {"question": question, "answer": answer, **spent})
        return answer

    def _kept(self, question: list[Any]) -> dict[str, Any] | None:
        """What is there for this question; if another one was asked, nothing from there on is true any more."""
        path = self._path(self.asked)
        if not path.exists():
            return None
        try:
            kept: dict[str, Any] = read_json(path)
            if kept["question"] == question and {"answer", "evaluations", "images"} <= kept.keys():
                return kept
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OSError) as error:
            dropped(path, error)
        later = self.asked
        while (path := self._path(later)).exists():
            remove(path)
            later += 1
        return None

    def _path(self, number: int) -> Path:
        return self.folder / f"answer-{number}.json"
