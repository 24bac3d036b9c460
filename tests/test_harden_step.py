"""The steps `harden` and `choose_strength` on the pico pipeline: what they leave, and that a stop changes no byte."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks import choose_strength, harden
from tasks._all import MAKE_THE_MODEL, STEPS
from tasks._step import Step
from tverase.config import Params
from tverase.files import read_json, read_tensors
from tverase.hardening.distil import Distillation
from tverase.trial import ModelTrial
from tverase.vector import TaskVector
from tverase.world.vocabulary import vocabulary

CONCEPTS = ("bomb", "skull")
LABELS = [*vocabulary().objects, *vocabulary().styles]
JUDGES = f"""import torch


def every(images):
    return torch.ones(len(images), {len(LABELS)})


def none(images):
    return torch.zeros(len(images), {len(LABELS)})
"""


def judged(function: str) -> dict[str, Any]:
    """A judge that sees every label in every image, or none in any."""
    return {"kind": "python", "function": f"seers:{function}", "labels": LABELS, "threshold": 0.5}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, small_run: dict[str, Any]) -> Path:
    """A folder with the outputs of all steps before `harden`; never written to."""
    place = tmp_path_factory.mktemp("harden")
    (place / "seers.py").write_text(JUDGES)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for step in STEPS[len(MAKE_THE_MODEL) : STEPS.index(harden.STEP)]:
            step.execute(Params.parse({**small_run, "concepts": CONCEPTS, "judge": judged("every")}))
    return place


@pytest.fixture
def given(finished: Path, small_run: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The parameters, two rounds from teacher strength 2; a copy of `finished` is the working folder."""
    shutil.copytree(finished, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    rounds = {**small_run["harden"], "teacher": 2.0, "attacked": [0.5, 1.0]}
    return {**small_run, "concepts": CONCEPTS, "judge": judged("every"), "harden": rounds}


def outputs(step: Step, params: Params) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in step.outputs(params).items()}


def stopped_and_continued(
    step: Step, params: Params, patch: pytest.MonkeyPatch, of: type, name: str, after: int
) -> list[int]:
    """Stop the step in its call number `after` of a method, then run it again; how often each run called the method."""
    calls, method = [0], getattr(of, name)

    def counted(self: Any, *arguments: Any) -> Any:
        calls[-1] += 1
        if len(calls) == 1 and calls[0] == after:
            raise KeyboardInterrupt
        return method(self, *arguments)

    patch.setattr(of, name, counted)
    with pytest.raises(KeyboardInterrupt):
        step.execute(params, force=True)
    calls.append(0)
    step.execute(params, force=True)
    return calls


def test_hardening_takes_the_steps_of_each_concept_and_keeps_every_finding(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    params, steps, step = Params.parse(given), list[float](), Distillation.step
    monkeypatch.setattr(Distillation, "step", lambda student: steps.append(1) or step(student))
    harden.STEP.execute(params)
    rounds = params.harden.warm_up + params.harden.max_rounds
    assert len(steps) == rounds * params.harden.steps * len(CONCEPTS)
    about = read_json(params.out / "hardening.json")
    assert (about["teacher"], about["looks"], about["clean"]) == (2.0, [], False)
    assert [one["round"] for one in about["rounds"]] == [1, 2]
    found = [one for each in about["rounds"] for one in each["found"]]
    tensors, _ = read_tensors(params.out / "findings.safetensors")
    assert sorted(tensors) == sorted(one["name"] for one in found)
    assert {(one["concept"], one["share"]) for one in found} == {(c, share) for c in CONCEPTS for share in (0.5, 1.0)}
    assert all(one["hits"] == one["images"] == params.harden.images for one in found)
    assert all(cond.dim() == 3 and cond.isfinite().all() for cond in tensors.values())
    plain, hardened = (TaskVector.load(params.out / f"{name}.safetensors") for name in ("selected", "hardened"))
    assert (hardened.base, hardened.delta.keys()) == (plain.base, plain.delta.keys())
    assert any(not torch.equal(change, plain.delta[key]) for key, change in hardened.delta.items())


def test_hardening_continues_after_a_stop(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    params = Params.parse(given)
    whole, each = harden.STEP.execute(params), params.harden.steps * len(CONCEPTS)
    before = outputs(harden.STEP, params)
    first = (1 + params.harden.warm_up) * each
    calls = stopped_and_continued(harden.STEP, params, monkeypatch, Distillation, "step", first + 2)
    assert calls == [first + 2, each]  # the first round is not done again
    assert outputs(harden.STEP, params) == before
    again = harden.STEP.last(params)
    assert again is not None
    assert again.evaluations == whole.evaluations


@pytest.mark.parametrize("why", ["no teacher erases", "no rounds"])
def test_without_hardening_the_vector_stays_as_it_is(why: str, given: dict[str, Any]) -> None:
    rounds = {**given["harden"], "teacher": None} if why == "no teacher erases" else {"max_rounds": 0}
    params = Params.parse({**given, "harden": rounds})
    harden.STEP.execute(params)
    assert (params.out / "hardened.safetensors").read_bytes() == (params.out / "selected.safetensors").read_bytes()
    about = read_json(params.out / "hardening.json")
    assert (about["teacher"], about["clean"], about["rounds"]) == (None, False, [])
    tried = params.harden.teachers if why == "no teacher erases" else ()
    assert [look["alpha"] for look in about["looks"]] == list(tried)
    assert not any(look["erases"] for look in about["looks"])
    assert read_tensors(params.out / "findings.safetensors")[0] == {}


def choosing(given: dict[str, Any], **changes: Any) -> Params:
    """Parameters of a choice that confirms every strength, and the step before it done."""
    choice = {**given["choose_strength"], "alpha_max": 8.0}
    rounds = {**given["harden"], **changes}
    params = Params.parse({**given, "judge": judged("none"), "harden": rounds, "choose_strength": choice})
    harden.STEP.execute(params)
    return params


def test_a_hardened_vector_is_confirmed_at_shares_of_its_teacher(given: dict[str, Any]) -> None:
    params = choosing(given)
    choose_strength.STEP.execute(params)
    found = read_json(params.out / "strength.json")
    shares = params.choose_strength.shares
    assert (found["teacher"], found["explored"]) == (2.0, [])
    assert [one["alpha"] for one in found["tested"]] == pytest.approx([2.0 * share for share in shares])
    assert found["alpha"] == found["smallest"] == found["tested"][-1]["alpha"]
    for one in found["tested"]:
        assert {name.partition("/attack/")[0] for name in one["counts"] if "/attack/" in name} == set(CONCEPTS)
    rows = (params.out / "curve.csv").read_text().splitlines()
    assert rows[0].startswith("alpha,")
    assert len(rows) == 1 + len(found["frontier"]) == 1 + len(params.choose_strength.frontier)


def test_a_vector_that_is_not_hardened_is_explored_first(given: dict[str, Any]) -> None:
    params = choosing(given, max_rounds=0)
    choose_strength.STEP.execute(params)
    found = read_json(params.out / "strength.json")
    assert found["teacher"] is None
    smallest = min(look["alpha"] for look in found["explored"] if look["erases"])
    assert found["tested"][0]["alpha"] == 2 * smallest


def test_a_choice_continues_after_a_stop(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    params = choosing(given)
    whole = choose_strength.STEP.execute(params)
    before, strengths = outputs(choose_strength.STEP, params), len(params.choose_strength.shares)
    calls = stopped_and_continued(choose_strength.STEP, params, monkeypatch, ModelTrial, "attack", 3)
    assert calls == [3, strengths - 2]  # two strengths had been confirmed
    assert outputs(choose_strength.STEP, params) == before
    again = choose_strength.STEP.last(params)
    assert again is not None
    assert again.evaluations == whole.evaluations
