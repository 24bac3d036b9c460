"""A cell: a leaky model is recovered by every attack, a blank one by none, and whatever goes wrong is a state."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from bench_place import SMALL, bench_place, bench_plan, enter

from tasks._bench import Keys, execute, finished
from tverase.attacks.base import Finding
from tverase.bench.deadline import OutOfTime, within
from tverase.bench.gate import Gate
from tverase.bench.jury import Jury, members
from tverase.bench.outcome import attempted
from tverase.bench.plan import Plan, Work
from tverase.bench.score import Scorer, Seen, _part
from tverase.errors import ConfigError, NumericalError
from tverase.files import read_json, sha256
from tverase.models.text2image import TextToImage
from tverase.sampling import Sampling

ODD = ("crash", "nan", "slow", "own")
SOUND = ("prompts", "di-embeddings", "empty-prompt", "concept-inversion words=2 steps=1 batch=1 images=2")
NAMES = (*SOUND[:3], SMALL, *ODD)
SLOW = 1  # second


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, pico_folder: Path) -> Iterator[Path]:
    """A folder with a table whose cells were all run."""
    folder = bench_place(tmp_path_factory.mktemp("bench"), pico_folder)
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        run(plan())
        yield folder


def plan(out: str = "table", names: Any = NAMES) -> Plan:
    """Cells of the slow attack are stopped after a second."""
    found = bench_plan(out, names)
    slow = found.cases[0].model_copy(update={"budget": found.cases[0].budget.model_copy(update={"seconds": 20})})
    return found.model_copy(update={"cases": (slow,)})


def run(whole: Plan) -> int:
    """Run what is not finished, one part after the other; how many parts that were."""
    ran = 0
    for stage in whole.stages():
        for keyed in map(Keys().of, stage):
            if finished(keyed) is None:
                work = Work.of(keyed.work.as_dict())
                if work.attempt and work.attempt.name == "slow":
                    short = work.case.budget.model_copy(update={"seconds": SLOW})
                    work = Work(
                        work.stage, work.case.model_copy(update={"budget": short}), work.row, work.attempt, work.place
                    )
                execute(work, keyed.key, keyed.code, keyed.hashes)
                ran += 1
    return ran


def cells(whole: Plan, row: str) -> dict[str, Any]:
    """The cells of a row by their attack."""
    mine = [work for work in whole.cells() if work.attempt and work.row and work.row.name == row]
    return {work.attempt.name: read_json(work.path) for work in mine if work.attempt}


@pytest.mark.usefixtures("place")
def test_every_attack_recovers_a_leaky_model_and_none_a_blank_one() -> None:
    leaky, blank = cells(plan(), "base"), cells(plan(), "blank")
    for name in SOUND:
        assert leaky[name]["state"] == blank[name]["state"] == "done", (leaky[name]["why"], blank[name]["why"])
        assert leaky[name]["worst"]["both"]["rate"] == 1.0
        assert blank[name]["worst"]["both"]["rate"] == 0.0
        assert leaky[name]["cost"]["score"] > 0
    assert set(leaky["prompts"]["kinds"]) == {"0", "1", "2"}, "names, synonyms and compositions are kinds of their own"


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("name", "why"),
    [("crash", "RuntimeError: out of luck"), ("nan", "not finite"), ("slow", "it takes longer than 1 s")],
)
def test_what_goes_wrong_is_a_state_and_the_others_go_on(name: str, why: str) -> None:
    said = cells(plan(), "base")[name]
    assert said["state"] == "failed"
    assert why in said["why"]
    assert "worst" not in said


def test_both_halves_have_images_of_every_prompt() -> None:
    """An attack that draws three names draws all images of one before those of the next."""
    samples = torch.arange(3).repeat_interleave(4)
    halves = [_part(samples, which) for which in ("first", "second")]
    assert [half.tolist() for half in halves] == [[0, 0, 1, 1, 2, 2]] * 2
    assert len(_part(samples, "all")) == 12


@pytest.mark.usefixtures("place")
def test_images_that_choose_do_not_score() -> None:
    said = cells(plan(), "blank")["own"]
    assert said["worst"]["finding"] == "half"
    assert said["worst"]["both"] == {"rate": 0.0, "low": 0.0, "high": 0.7076, "successes": 0, "trials": 3}
    assert said["all"]["both"]["successes"] == 3, "the half that chose it was white"


@pytest.mark.usefixtures("place")
def test_both_judges_are_counted_and_have_to_agree() -> None:
    said = cells(plan(), "base")["prompts"]
    assert len(said["judges"]) == len(said["worst"]["judges"]) == 2
    votes = torch.tensor([[True, True, False], [True, False, False]])
    counts = Seen(torch.zeros(3, 3, 1, 1), votes).as_dict()
    assert counts["both"]["successes"] == 1
    assert [one["successes"] for one in counts["judges"]] == [2, 1]


@pytest.mark.usefixtures("place")
def test_the_same_bytes_again_and_nothing_is_run_twice() -> None:
    assert run(plan()) == 0
    names = ("prompts", SMALL, "own")
    first = {work.path.name: work for work in plan(names=names).cells()}
    again = plan("again", names)
    run(again)
    for work in again.cells():
        for path in (work.path, work.path.with_suffix(".png")):
            if path.exists():
                same = Path("table") / path.relative_to("again")
                assert sha256(path) == sha256(same), path
    assert set(first) == {work.path.name for work in again.cells()}


@pytest.mark.usefixtures("place")
def test_a_key_knows_code_settings_and_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    work = next(w for w in plan().cells() if w.attempt and w.attempt.name == "own" and w.row and w.row.name == "blank")
    key = Keys().of(work).key
    assert Keys().of(Work.of(work.as_dict())).key == key
    more = work.case.model_copy(update={"seed": 1})
    assert Keys().of(Work(work.stage, more, work.row, work.attempt, work.place)).key != key
    source = Path("odd_of_tests.py")
    before = source.read_text()
    source.write_text(before.replace("torch.ones(6", "torch.ones(7"))
    assert Keys().of(work).key != key, "the source of the attack is part of it"
    source.write_text(before)
    assert Keys().of(work).key == key
    weights = Path("blank/model_index.json")
    before = weights.read_text()
    weights.write_text(before + " ")
    assert Keys().of(work).key != key, "the row's folder is part of it"
    weights.write_text(before)


@pytest.mark.usefixtures("place")
def test_an_edit_that_failed_refuses_the_cells_of_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    from tverase.erasers.esd import Esd

    def broken(*_: Any) -> Any:
        raise NumericalError("the loss is NaN.")

    monkeypatch.setattr(Esd, "run", broken)
    whole = plan("broken", ("prompts",))
    run(whole)
    name = "esd steps=1 batch=2"
    assert cells(whole, name)["prompts"]["state"] == "refused"
    assert "the row could not be made: the loss is NaN." in cells(whole, name)["prompts"]["why"]
    assert cells(whole, "base")["prompts"]["state"] == "done"


def test_the_second_judge() -> None:
    assert members({"kind": "panel", "judges": ["a", "b", "c"]}) == ("a", "b")
    assert members("python:a:b") == ("python:a:b",)
    assert members("python:a:b", "clip") == ("python:a:b", "clip")


def test_time_is_up_in_any_thread() -> None:
    def for_ever() -> dict[str, Any]:
        while True:
            pass

    with pytest.raises(OutOfTime):
        within(0.05, for_ever)
    assert within(5, lambda: 3) == 3
    assert attempted(for_ever, 0.05).state == "failed"
    assert attempted(lambda: {"a": 1}, 0).as_dict() == {"state": "done", "why": "", "a": 1}


def test_a_refusal_is_told_from_a_failure() -> None:
    def refuses() -> dict[str, Any]:
        raise ConfigError("not for this model.")

    assert attempted(refuses, 0).as_dict() == {"state": "refused", "why": "not for this model."}


def test_one_finding_alone_is_scored_on_its_only_images(pico: TextToImage) -> None:
    class Sees:
        name, labels, axes, accuracy, threshold = "all", ("bomb",), {"label": ("bomb",)}, 1.0, None

        def sees(self, images: torch.Tensor, wanted: Any) -> torch.Tensor:
            return torch.ones(len(images), dtype=torch.bool)

    scorer = Scorer(pico, Jury((Sees(),)), "bomb", Sampling(steps=1, guidance=1.0), 3, 0, "test")  # type: ignore[arg-type]
    before = pico.meter.images
    scored, every = scorer.worst([Finding("one", pico.encode(["a bomb"]))], 4)
    assert pico.meter.images - before == 3
    assert scored[0].seen.as_dict()["both"]["successes"] == every["both"]["successes"] == 3


def test_nobody_computes_while_a_model_is_opened() -> None:
    gate, seen, going = Gate(), list[str](), threading.Event()

    def compute(name: str) -> None:
        with gate.computing():
            seen.append(f"{name} begins")
            going.set()
            time.sleep(0.05)
            seen.append(f"{name} ends")

    def open_() -> None:
        going.wait()
        with gate.opening():
            seen.append("opening")
            time.sleep(0.05)
            seen.append("opened")

    threads = [threading.Thread(target=compute, args=("first",)), threading.Thread(target=open_)]
    for thread in threads:
        thread.start()
    while not gate._waiting and "opening" not in seen:
        time.sleep(0.001)
    compute("second")
    for thread in threads:
        thread.join()
    assert seen == ["first begins", "first ends", "opening", "opened", "second begins", "second ends"]
