"""A strength search that was stopped goes on as if nothing had happened, and asks nothing twice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_mending import repaired_in, started

from tasks import search_strength
from tasks._job import Job
from tasks._judge import judge_of
from tverase.bounds import Bound
from tverase.files import read_json, sha256
from tverase.journal import Journal
from tverase.models.base import Meter
from tverase.models.text2image import TextToImage
from tverase.strength import Strength, StrengthCurve
from tverase.strength_search import search_strength as searched
from tverase.trial import Inputs, ModelTrial
from tverase.vector import TaskVector, weights_hash
from tverase.world.concepts import concept
from tverase.world.vocabulary import vocabulary


class Stopped(Exception):
    """As if the process had been killed."""


@dataclass
class Stop:
    """Counts real work, and stops at a given piece of it."""

    at: int | None = None
    done: int = 0

    def work(self) -> None:
        if self.done == self.at:
            raise Stopped
        self.done += 1


@dataclass
class Toy(ModelTrial):
    """Coins instead of images; they depend on the number of the call, as the real trial's noise does."""

    stop: Stop = field(default_factory=Stop)

    def recovery(self, alpha: float, inputs: Sequence[str], images: int) -> list[int]:
        self.calls += 1
        self.stop.work()
        self.model.meter.evaluations += 7 * images * len(inputs)
        self.model.meter.images += images * len(inputs)
        rng = np.random.default_rng([self.calls, self.became])
        rates = [0.4 if "word" in name and self.became < 2 else 0.02 for name in inputs]
        return [int(rng.binomial(images, rate if alpha > 1 else 0.9)) for rate in rates]

    def _control(self, alpha: float, images: int) -> Bound:
        self.stop.work()
        self.model.meter.images += images
        return Bound(round(images * (1 - 0.02 * alpha)), images)


@dataclass
class Bench:
    """A search of a toy whose words draw the concept until the vector was repaired twice."""

    model: TextToImage
    folder: Path

    def search(self, stop: Stop) -> tuple[StrengthCurve, Toy]:
        base = self.model.metered(Meter())
        delta = {key: torch.ones_like(weight) for key, weight in base.weights().items()}
        vector = TaskVector(delta, weights_hash(base.weights()), {"concept": "bomb"})
        bomb = concept("bomb", vocabulary())
        inputs = Inputs({}, {"v": bomb, "w": bomb}, {"tune": ["v"], "validate": ["w"]})
        nobody: Any = None
        toy = Toy(base, vector, inputs, (), nobody, nobody, 0, stop=stop)

        def learn(alpha: float, number: int) -> list[str]:
            stop.work()
            base.meter.evaluations += 100
            names = [f"word {number}/{n}" for n in range(2)]
            for n, name in enumerate(names):
                inputs.cond[name] = torch.full((1, 3, 4), alpha + n)
                inputs.concept[name], inputs.points[name] = bomb, torch.full((4,), float(number + n))
            return names

        def mend(names: Sequence[str]) -> None:
            stop.work()
            toy.become((1.0 + len(names)) * toy.vector)

        journal = Journal(toy, self.folder)
        how = Strength(adaptive=3, control_images=40, epsilon=0.15, round=16, rounds=5)
        steps = searched(
            journal, ["v"], ["w"], how, learn=journal.learning(learn), repaired=4.0, mend=journal.mending(mend)
        )
        *_, last = steps
        return last, toy


def same(one: Toy, other: Toy) -> bool:
    """Whether all that a search leaves is the same."""
    words = all(torch.equal(one.inputs.cond[name], cond) for name, cond in other.inputs.cond.items())
    points = all(torch.equal(one.inputs.points[name], point) for name, point in other.inputs.points.items())
    return (
        words
        and points
        and list(one.inputs.points) == list(other.inputs.points)
        and one.inputs.concept == other.inputs.concept
        and (one.vector - other.vector).norm() == 0
        and one.vector.about == other.vector.about
        and (one.calls, one.became, one._weighed) == (other.calls, other.became, other._weighed)
        and one.model.meter == other.model.meter
    )


def test_a_search_that_was_stopped_anywhere_goes_on_exactly(pico: TextToImage, tmp_path: Path) -> None:
    whole = Stop()
    expected, toy = Bench(pico, tmp_path / "whole").search(whole)
    assert (expected.mends, expected.alpha is not None) == (2, True)
    assert whole.done > 12
    for at in range(whole.done):
        bench, first, second = Bench(pico, tmp_path / str(at)), Stop(at), Stop()
        with pytest.raises(Stopped):
            bench.search(first)
        found, again = bench.search(second)
        assert found == expected
        assert first.done + second.done == whole.done  # nothing twice
        assert same(again, toy)


def test_answers_to_other_questions_are_forgotten(pico: TextToImage, tmp_path: Path) -> None:
    """A kept answer is of no use where another question is asked, and whatever came after it is neither."""
    Bench(pico, tmp_path).search(Stop())
    kept = sorted(tmp_path.glob("answer-*.json"))
    changed = tmp_path / "answer-4.json"
    content = read_json(changed)
    changed.write_text(changed.read_text().replace(str(content["question"][0]), "another", 1))
    stop = Stop()
    found, _ = Bench(pico, tmp_path).search(stop)
    assert found == Bench(pico, tmp_path / "whole").search(Stop())[0]
    assert stop.done == len(kept) - 3


@pytest.mark.parametrize("damage", ["", "{", "[]", "null"])
def test_a_damaged_answer_is_dropped_and_asked_again(
    pico: TextToImage, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected, toy = Bench(pico, tmp_path).search(Stop())
    (tmp_path / "answer-2.json").write_text(damage)
    stop = Stop()
    found, again = Bench(pico, tmp_path).search(stop)
    assert (found, same(again, toy), stop.done) == (expected, True, 1)
    assert "it is dropped and computed again" in caplog.text


def test_damaged_words_of_an_answer_are_learned_again(pico: TextToImage, tmp_path: Path) -> None:
    expected, toy = Bench(pico, tmp_path).search(Stop())
    (tmp_path / "learned-0.safetensors").write_bytes(b"half")
    found, again = Bench(pico, tmp_path).search(stop := Stop())
    assert (found, same(again, toy), stop.done) == (expected, True, 1)


def stopping(limit: int, method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, which works so often and no oftener."""
    stop = Stop(limit)

    def limited(*args: Any, **given: Any) -> Any:
        stop.work()
        return method(*args, **given)

    return limited


def test_the_step_goes_on_and_leaves_the_same_bytes(
    small_run: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = repaired_in(small_run, rounds=1)
    outputs = search_strength.STEP.outputs(small).values()
    search_strength.STEP.execute(small)
    expected = [sha256(path) for path in outputs]
    for limit in (1, 3):
        with monkeypatch.context() as patch:
            patch.setattr(ModelTrial, "recovery", stopping(limit, ModelTrial.recovery))
            with pytest.raises(Stopped):
                search_strength.STEP.execute(small, force=True)
        search_strength.STEP.execute(small)
        assert [sha256(path) for path in outputs] == expected


@pytest.fixture
def mending(
    small_run: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Path, int], TaskVector]:
    """Mends the repaired vector of a folder, with so many steps of training, and a checkpoint after each of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tverase.repair.CHECKPOINT_EVERY", 1)
    small = repaired_in(small_run, rounds=1)

    def mend(scratch: Path, limit: int) -> TaskVector:
        scratch.mkdir(exist_ok=True)
        job = Job(small, search_strength.STEP.inputs(small), {}, scratch, lambda _: stop.work())
        stop, model = Stop(limit), search_strength.base_model(job)
        inputs = started(model, small.concept_list, small)
        vector = TaskVector.load(job.inputs["vector"])
        trial = ModelTrial(model, vector, inputs, (), judge_of(job), small.sampling, 0)
        search_strength.mender(job, model, trial, 1.0)(["bomb/learned/0"])
        return trial.vector

    return mend


def test_a_mend_that_was_stopped_goes_on_exactly(mending: Callable[[Path, int], TaskVector], tmp_path: Path) -> None:
    expected = mending(tmp_path / "whole", 9)
    with pytest.raises(Stopped):
        mending(tmp_path / "part", 1)
    left = 1  # of three steps: the second was taken, only its news could not be told
    assert (mending(tmp_path / "part", left) - expected).norm() == 0
