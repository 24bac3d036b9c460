"""Mending: a vector that the words of a search have broken is repaired again, and holds what broke it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coins import Curve, KnownTrial, Scripted, falling

from tasks import repair, search_strength
from tasks._all import MAKE_THE_MODEL, STEPS
from tasks._common import base_model
from tasks._job import Job
from tasks._judge import judge_of
from tasks._mending import mender
from tverase.concepts import Concept
from tverase.config import Params
from tverase.files import read_json, read_tensors
from tverase.inversion.run import words_of
from tverase.models.text2image import TextToImage
from tverase.progress import Progress, silent
from tverase.repair import Lessons, Repair, mend
from tverase.repair import repair as distil
from tverase.rng import generator
from tverase.strength import Strength, StrengthCurve
from tverase.strength import Tested as Trialled
from tverase.strength_search import search_strength as searched
from tverase.trial import Inputs, ModelTrial
from tverase.vector import TaskVector


@dataclass
class Broken:
    """Every round learns one word, which draws the concept at every strength until the vector was mended `enough` times."""

    trial: KnownTrial
    enough: int
    held: list[list[str]] = field(default_factory=list)
    asked: int = 0

    def rate(self, _: float) -> float:
        return 0.0 if len(self.held) >= self.enough else 0.5

    def learn(self, alpha: float, number: int) -> list[str]:
        self.asked += 1
        self.trial.curves[f"learned {number}"] = self.rate
        return [f"learned {number}"]

    def mend(self, names: Sequence[str]) -> None:
        self.held.append(list(names))


def world() -> dict[str, Curve]:
    return {"v": falling(1.0, 0.02), "w": falling(1.0, 0.02)}


def answer(broken: Broken, **settings: Any) -> StrengthCurve:
    how = Strength.model_validate({"adaptive": 2, "epsilon": 0.15, "round": 16, "rounds": 5, **settings})
    *_, last = searched(broken.trial, ["v"], ["w"], how, learn=broken.learn, repaired=4.0, mend=broken.mend)
    return last


def test_what_is_learned_and_draws_the_concept_is_held_and_the_search_goes_on() -> None:
    broken = Broken(Scripted(world()), enough=1)
    found = answer(broken)
    assert [(t.alpha, t.role, t.safe) for t in found.tested] == [
        (4.0, "tune", True),
        (2.75, "tune", True),
        (2.75, "adaptive", False),
        (2.75, "mended", True),  # no stronger
    ]
    assert broken.held == [["learned 0"]]
    assert set(found.tested[3].counts) == {"v", "w", "learned 0", "learned 1"}  # everything once more
    assert (found.alpha, found.safe_alpha, found.mends) == (3.125, 2.75, 1)  # with its margin
    assert "the vector was repaired again" in found.reason
    assert (found.as_dict()["mends"], found.as_dict()["held"]) == (1, (("learned 0",),))


@pytest.mark.parametrize(("mends", "expected"), [(0, 0), (1, 1), (2, 2)])
def test_a_search_mends_so_often_and_no_oftener(mends: int, expected: int) -> None:
    broken = Broken(Scripted(world()), enough=9)
    found = answer(broken, mends=mends)
    assert (found.alpha, found.mends, len(broken.held)) == (None, expected, expected)
    assert found.safe_alpha == found.tested[-1].alpha
    assert broken.asked == 1 + 2 + mends
    climb = [2.75, 3.375, 3.75]  # each of them once more after its mend
    assert [t.alpha for t in found.tested[2:]] == sorted(climb + climb[:expected])
    assert "what is learned against the model still draws the concept" in found.reason


def test_nothing_is_mended_where_nothing_learned_is_to_blame() -> None:
    """An embedding that was held out draws it from the second round on; words never do."""
    trial = Scripted(world())
    broken = Broken(trial, enough=0)
    trial.curves["w"] = lambda _: 0.5 if broken.asked > 1 else 0.0
    found = answer(broken)
    last = found.tested[-1]
    assert (last.role, last.safe, last.worst) == ("adaptive", False, "w")
    assert [seen for name, seen in last.counts.items() if name.startswith("learned")] == [(0, 16)]
    assert (found.alpha, found.mends, broken.held) == (None, 0, [])


def test_a_word_that_is_lost_late_is_to_blame_as_well() -> None:
    """Three of 80 images are too many for it, and less than half of epsilon."""
    seen = iter([0, 0, 1, 1, 1, 1, 0, 0, 1, 1])  # a trial asks twice: to toss its coins, and for what is scripted
    broken = Broken(Scripted(world()), enough=1)
    broken.rate = lambda _: 0.0 if broken.held else next(seen) / 16  # type: ignore[method-assign]
    found = answer(broken)
    assert [t.counts["learned 0"] for t in found.tested if t.role == "adaptive"] == [(3, 80)]
    assert (found.mends, broken.held, found.alpha) == (1, [["learned 0"]], 3.125)


def test_every_test_that_mending_may_add_shares_the_error() -> None:
    """Every mend adds a round; a search without rounds has nothing to mend."""
    plain, twice = Strength(adaptive=4, mends=0), Strength(adaptive=4, mends=2)
    assert twice.visits == plain.visits + 2
    assert twice.share < plain.share
    assert Strength(adaptive=0, mends=2).visits == Strength(adaptive=0, mends=0).visits


@pytest.mark.parametrize("adaptive", [0, 1, 3])
@pytest.mark.parametrize("repaired", [None, 1.0, 4.0, 9.0])
def test_no_search_has_more_tests_than_share_its_error(
    adaptive: int, repaired: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever their verdicts are, and whether words or what is held out is to blame."""
    settings = Strength(adaptive=adaptive, patience=1, resolution=0.5)
    rng, most, taken = np.random.default_rng(adaptive), settings.round * settings.rounds, []

    def verdict(_: object, alpha: float, inputs: Sequence[str], settings: Strength, role: str, __: object) -> Trialled:
        safe, blamed = rng.random() < rng.choice([0.2, 0.5, 0.8]), inputs[-1 if rng.random() < 0.7 else 0]
        return Trialled(alpha, role, {n: (0 if safe or n != blamed else most, most) for n in inputs}, 0.0, safe, 0)

    monkeypatch.setattr("tverase.strength_search.test_alpha", verdict)
    for _ in range(300):
        trial, mends = KnownTrial({}), list[Sequence[str]]()
        learn = lambda _, number: [f"learned {number}"]
        *_, found = searched(trial, ["v"], ["w"], settings, learn=learn, repaired=repaired, mend=mends.append)
        taken.append(len(found.tested))
        assert len(mends) == found.mends <= settings.mends
        if found.alpha is not None:
            last = found.tested[-1]
            assert last.safe
            assert {"w", "v"} <= {*last.counts} if mends else "w" in last.counts
    assert 0 < max(taken) <= settings.visits


def repaired_in(small_run: dict[str, Any], rounds: int = 2, **changes: Any) -> Params:
    """The steps up to a repaired vector of the pico model."""
    given = {**small_run, **changes, "repair": {**small_run["repair"], "alpha": 1.0, "rounds": rounds}}
    given["search_strength"] = {**small_run["search_strength"], "mending": 3}
    given["invert"] = {**small_run["invert"], **changes.get("invert", {})}
    params = Params.parse(given)
    for step in STEPS[len(MAKE_THE_MODEL) : STEPS.index(repair.STEP) + 1]:
        step.execute(params)
    return params


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, small_run: dict[str, Any]) -> Iterator[tuple[Path, Params]]:
    """A folder with a repaired vector."""
    folder = tmp_path_factory.mktemp("mending")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder, repaired_in(small_run)


def started(model: TextToImage, concepts: Sequence[Concept], params: Params) -> Inputs:
    """Two words for each concept, as a search would have learned them."""
    inputs, rng = Inputs({}, {}, {}), generator(0, "tests/mending")
    for concept in concepts:
        space = words_of(model, concept, params.invert)
        points = space.start(space.anchor(concept.noun), torch.tensor([0.0, 0.2]), torch.tensor([0.1, 0.3]), rng)
        for number, point in enumerate(points):
            name = f"{concept.slug}/learned/{number}"
            inputs.cond[name], inputs.concept[name] = space.cond(point[None]).detach(), concept
            inputs.points.update({name: point} if params.invert.space == "tokens" else {})  # words are no states
    return inputs


def test_a_repair_keeps_the_words_of_its_rounds(place: tuple[Path, Params]) -> None:
    _, params = place
    words, _ = read_tensors(params.out / "learned.safetensors")
    assert {name: len(points) for name, points in words.items()} == {"bomb": 2 * 2}
    assert not torch.equal(words["bomb"][:2], words["bomb"][2:])


def test_a_mended_vector_is_another_one_of_the_same_kind(place: tuple[Path, Params]) -> None:
    folder, params = place
    told: list[Progress] = []
    job = Job(params, search_strength.STEP.inputs(params), {}, folder, told.append)
    model, repaired = base_model(job), TaskVector.load(job.inputs["vector"])
    inputs, results = started(model, params.concept_list, params), list[TaskVector]()
    for names in (["bomb/learned/0"], ["bomb/learned/0"], ["bomb/learned/0", "bomb/learned/1"]):
        trial = ModelTrial(model, repaired, inputs, (), judge_of(job), params.sampling, 0)
        before = trial.at(1.0).weights()
        mender(job, model, trial, 1.0)(names)
        assert any(not torch.equal(weight, before[key]) for key, weight in trial.at(1.0).weights().items())
        results.append(trial.vector)
    one, same, other = results
    assert (one.base, one.delta.keys(), one.about) == (repaired.base, repaired.delta.keys(), repaired.about)
    assert (one - same).norm() == 0
    assert (one - other).norm() > 0
    assert (one - repaired).norm() > 0
    assert [t.done for t in told if t.what == "repairing again"] == [1, 2, 3] * 3


@pytest.mark.parametrize(
    "changes",
    [
        {"rounds": 0, "invert": {"tokens": 2}},
        {"rounds": 3, "invert": {"space": "states"}},  # of which two steps have room for one
        {"concepts": ["bomb", "cat"], "name": "bomb+cat"},
    ],
)
def test_whatever_is_repaired_can_be_mended(
    tmp_path: Path, small_run: dict[str, Any], changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without rounds, with rounds that the steps have no room for, of two tokens, states, and several concepts; twice."""
    monkeypatch.chdir(tmp_path)
    params = repaired_in(small_run, **changes)
    job = Job(params, search_strength.STEP.inputs(params), {}, tmp_path, silent)
    model, repaired = base_model(job), TaskVector.load(job.inputs["vector"])
    inputs = started(model, params.concept_list, params)
    trial = ModelTrial(model, repaired, inputs, (), judge_of(job), params.sampling, 0)
    again = mender(job, model, trial, 1.0)
    again(["bomb/learned/0"])
    once = trial.vector
    again(list(inputs.cond))
    assert (once - repaired).norm() > 0
    assert (trial.vector - once).norm() > 0


def test_several_concepts_take_the_steps_of_each(
    tmp_path: Path, small_run: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params, told = repaired_in(small_run, concepts=["bomb", "cat"], name="bomb+cat"), list[Progress]()
    job = Job(params, search_strength.STEP.inputs(params), {}, tmp_path, told.append)
    model, repaired = base_model(job), TaskVector.load(job.inputs["vector"])
    assert repaired.about["repaired"] == str(2 * params.repair.steps)
    inputs = started(model, params.concept_list, params)
    mender(job, model, ModelTrial(model, repaired, inputs, (), judge_of(job), params.sampling, 0), 1.0)(
        ["cat/learned/0"]
    )
    steps = 2 * params.search_strength.mending
    assert [(t.done, t.total) for t in told] == [(step + 1, steps) for step in range(steps)]


def test_a_mend_holds_every_word_so_far_and_most_of_all_what_broke_the_search(
    place: tuple[Path, Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, params = place
    job = Job(params, search_strength.STEP.inputs(params), {}, folder, silent)
    model, repaired = base_model(job), TaskVector.load(job.inputs["vector"])
    inputs, seen = started(model, params.concept_list, params), list[torch.Tensor]()

    def watched(*args: Any) -> Iterator[Any]:
        assert args[4].learned is not None
        seen.append(args[4].learned)
        return mend(*args)

    monkeypatch.setattr("tasks._mending.mend", watched)
    trial = ModelTrial(model, repaired, inputs, (), judge_of(job), params.sampling, 0)
    mender(job, model, trial, 1.0)(["bomb/learned/1"])
    (learned,), words = seen, read_tensors(job.inputs["learned"])[0]["bomb"]
    space = words_of(model, params.concept_list[0], params.invert)
    rounds = [space.cond(word[None])[0] for word in words]
    other, broke = (inputs.cond[f"bomb/learned/{number}"][0] for number in (0, 1))
    rows = [sum(bool(torch.allclose(row, word, atol=1e-5)) for row in learned) for word in (*rounds, other, broke)]
    assert min(rows) > 0
    # Half of it is about the word that broke the search, half of that just as it was learned.
    assert rows[-1] == max(rows) >= len(learned) / 4


def test_a_mend_begins_where_the_repair_ended(place: tuple[Path, Params]) -> None:
    """With a rate too small to change anything nothing changes."""
    folder, params = place
    job = Job(params, search_strength.STEP.inputs(params), {}, folder, silent)
    model, repaired = base_model(job), TaskVector.load(job.inputs["vector"])
    teacher = TaskVector.load(job.inputs["selected"])
    lessons: Lessons = repair.lessons_of(job, model)
    still = Repair(steps=5, batch=2, lr=1e-12)
    *_, last = mend(model, teacher, repaired, 1.0, lessons, still, 2, 0, "mend")
    assert last.number == 2
    assert (last.vector - repaired).norm() < 1e-3 * repaired.norm()
    *_, other = distil(model, teacher, 1.0, lessons, still, 0)
    assert (other.vector - repaired).norm() > 0.1 * repaired.norm()


def test_a_search_that_mended_nothing_leaves_the_vector_byte_for_byte(place: tuple[Path, Params]) -> None:
    _, params = place
    search_strength.STEP.execute(params)
    answer = read_json(params.out / "strength.json")
    first, second = (params.out / f"{name}.safetensors" for name in ("mended", "repaired"))
    assert answer["mends"] == 0
    assert first.read_bytes() == second.read_bytes()  # the metadata is part of the bytes
