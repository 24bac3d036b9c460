"""The final table: every kind of input has its row, and every number can be counted again from the images."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from examination import (
    ATTACK,
    BOMB,
    EACH,
    IMAGES,
    NOTO,
    RETAIN,
    SAMPLING,
    SHOWN,
    LinearJudge,
    examined,
    examiner_of,
    inversions_of,
)
from made_up import WORDS
from torch import Tensor

from tverase import rng
from tverase.bounds import upper
from tverase.context import Context
from tverase.evaluation import Examiner, RetainSet, Row
from tverase.inversion.diverse import Invert
from tverase.inversion.run import space_of
from tverase.inversion.sets import InversionSet
from tverase.judges.base import verdicts
from tverase.judges.by_label import ByLabel
from tverase.models.base import Meter
from tverase.models.text2image import TextToImage
from tverase.rng import generator
from tverase.sampling import Sampling, draw
from tverase.summary import metrics, summary
from tverase.trial import Inputs, ModelTrial, tuning_prompts
from tverase.vector import TaskVector

LEARNED = ("attack", "weaker", "states")  # the labels of the attacks that search


@pytest.fixture(scope="module")
def examiner(pico: TextToImage) -> Examiner:
    return examiner_of(pico)


@pytest.fixture(scope="module")
def found(pico: TextToImage) -> InversionSet:
    return inversions_of(pico)


@pytest.fixture(scope="module")
def rows(examiner: Examiner, found: InversionSet) -> list[Row]:
    return [row for _, row in examined(examiner, found)]


@pytest.fixture(scope="module")
def retain_set(examiner: Examiner) -> RetainSet:
    return examiner.retain_set([BOMB], RETAIN)


@pytest.fixture(scope="module")
def numbers(rows: list[Row], retain_set: RetainSet) -> dict[str, Any]:
    return summary(rows, retain_set, [BOMB, NOTO])


def test_every_kind_of_input_has_a_row(rows: list[Row]) -> None:
    assert [(row.concept, row.kind) for row in rows] == [
        *(("bomb", kind) for kind in BOMB.prompts_by_kind),
        ("bomb", "inversion"),
        ("bomb", "inversion"),
        *ATTACK.words * [("bomb", "attack")],
        *ATTACK.words * [("bomb", "weaker")],
        *ATTACK.words * [("bomb", "states")],
        *(("noto", kind) for kind in NOTO.prompts_by_kind),
        ("noto", "inversion"),
        *ATTACK.words * [("noto", "attack")],
        *ATTACK.words * [("noto", "weaker")],
        *ATTACK.words * [("noto", "states")],
    ]
    assert [row.input for row in rows if row.kind == "inversion"] == ["bomb/0", "bomb/1", "noto/0"]
    for row in rows:
        drawn = EACH if row.kind in ("inversion", *LEARNED) else IMAGES
        assert (row.base.trials, row.erased.trials) == (drawn, drawn)
        assert row.before.shape == row.after.shape == (SHOWN, 3, 8, 8)


def test_progress_counts_attacks(examiner: Examiner, found: InversionSet, rows: list[Row]) -> None:
    told = [progress for progress, _ in examined(replace(examiner, sampling=Sampling(steps=1)), found)]
    assert len(told) == len(rows)
    done = [progress.done for progress in told]
    assert done == sorted(done)
    assert {progress.total for progress in told} == {2 * 6}  # concepts by attacks, one of which finds nothing
    assert done[-1] == 2 * 6 - 2
    assert [p.what for p in told] == [f"evaluating {row.concept}: attacks" for row in rows]


def test_rows_say_whether_their_attack_searched(rows: list[Row]) -> None:
    assert [row.adaptive for row in rows] == [row.kind in LEARNED for row in rows]


def judge_of(examiner: Examiner, concept: str) -> LinearJudge:
    """The judge of the axis that the concept belongs to."""
    assert isinstance(examiner.judge, ByLabel)
    judge = examiner.judge.of(concept)
    assert isinstance(judge, LinearJudge)
    return judge


def recounted(examiner: Examiner, row: Row, cond: Tensor) -> list[list[bool]]:
    """What the judge says of each image of a row in both models, drawn here."""
    judge = judge_of(examiner, row.concept)
    purpose = f"evaluate/{row.concept}/{row.kind}/{row.input}"
    images = [draw(m, cond, generator(0, purpose), SAMPLING) for m in (examiner.base, examiner.erased)]
    return [(verdicts(judge, drawn) == judge.classes.index(row.concept)).tolist() for drawn in images]


def test_the_counts_are_those_of_the_images(examiner: Examiner, found: InversionSet, rows: list[Row]) -> None:
    counts = []
    for row in rows:
        if row.kind in LEARNED:
            continue  # its words are learned, and not to be had from outside
        of, base = BOMB if row.concept == "bomb" else NOTO, examiner.base
        if row.kind == "inversion":
            point = found.points[[item.name for item in found.found].index(row.input)]
            one = space_of(base, of, Invert()).cond(point[None]).detach()
            before, after = recounted(examiner, row, one.expand(EACH, -1, -1))
        else:
            prompts = of.prompts_by_kind[row.kind]
            spread = [prompts[i * len(prompts) // IMAGES] for i in range(IMAGES)]
            before, after = recounted(examiner, row, base.encode(spread))
        assert (row.base.successes, row.erased.successes) == (sum(before), sum(after))
        counts.append((sum(before), sum(after)))
    assert len(set(counts)) > 3  # the judges see something, and not the same everywhere
    assert any(before != after for before, after in counts)


def test_what_still_shows_the_concept_is_shown_first(examiner: Examiner, rows: list[Row]) -> None:
    """Otherwise a reader would have to believe the number instead of seeing it."""
    partly = [row for row in rows if 0 < row.erased.successes < row.erased.trials]
    assert partly
    for row in partly:
        judge = judge_of(examiner, row.concept)
        hits = (verdicts(judge, row.after) == judge.classes.index(row.concept)).tolist()
        assert hits == sorted(hits, reverse=True)
        assert sum(hits) == min(SHOWN, row.erased.successes)


def test_two_equal_models_differ_in_nothing(examiner: Examiner, found: InversionSet) -> None:
    same = replace(examiner, erased=examiner.base)
    for _, row in examined(same, found, [BOMB]):
        assert row.base == row.erased
        assert torch.equal(row.before, row.after)
    unchanged = summary([], same.retain_set([BOMB], RETAIN), [BOMB])["retain"]
    for pair in (
        unchanged["all"],
        *(pair for axis in unchanged["axes"].values() for pair in axis["by_label"].values()),
    ):
        assert pair["base"] == pair["erased"]
        assert pair["loss"] == 0
        assert pair["loss_low"] <= 0 <= pair["loss_high"]


def test_the_same_seed_gives_the_same_rows(examiner: Examiner) -> None:
    cond = examiner.base.encode(BOMB.names[:1] * 8)
    first, again, other = (replace(examiner, seed=s).row(BOMB, "name", "1 prompt", cond) for s in (0, 0, 1))
    assert torch.equal(first.after, again.after)
    assert not torch.equal(first.after, other.after)


def test_retain_prompts_ask_for_nothing_of_the_concept(examiner: Examiner, retain_set: RetainSet) -> None:
    assert len(retain_set.prompts) == RETAIN
    assert {p.labels[0] for p in retain_set.prompts} == set(WORDS.names) - {"bomb"}
    assert {p.labels[1] for p in retain_set.prompts} == set(WORDS.styles)
    cond = examiner.base.encode([p.text for p in retain_set.prompts])
    images = draw(examiner.erased, cond, generator(0, "evaluate/control"), SAMPLING)
    assert torch.equal(retain_set.after, images)
    for place, (name, axis) in enumerate((("dagger", "object"), ("noto", "style"))):
        judge, seen = judge_of(examiner, name), retain_set.erased[axis]
        wanted = [p.labels[place] for p in retain_set.prompts]
        said = [judge.classes[i] for i in verdicts(judge, images)]
        assert seen.tolist() == [one == other for one, other in zip(said, wanted, strict=True)]


def test_the_classes_of_the_retain_set_add_up(numbers: dict[str, Any], retain_set: RetainSet) -> None:
    found = numbers["retain"]
    assert list(found["axes"]) == ["object", "style"]
    assert found["how"] == "recognition"
    for axis in found["axes"].values():
        for model in ("base", "erased"):
            for count in ("successes", "trials"):
                assert sum(pair[model][count] for pair in axis["by_label"].values()) == axis["total"][model][count]
        assert axis["total"]["base"]["successes"] > 0
    both = retain_set.erased["object"] & retain_set.erased["style"]
    assert found["all"]["erased"]["successes"] == int(both.sum())
    assert found["all"]["base"]["trials"] == RETAIN
    assert "bomb" not in found["neighbours"]
    assert set(found["neighbours"]) <= {*WORDS.names, *WORDS.styles}


def test_the_few_numbers_are_those_of_the_table(numbers: dict[str, Any], rows: list[Row]) -> None:
    found = metrics(numbers, 1.25)
    learned = {f"worst_{kind}": max(r.erased.as_dict()["rate"] for r in rows if r.kind == kind) for kind in LEARNED}
    assert set(found) == {"alpha", "recovery", "worst_inversion", "worst_inversion_high", "retain", *learned}
    assert learned.items() <= found.items()
    assert set(found["retain"]) == {"base", "erased", "loss", "loss_low", "loss_high"}
    assert found["alpha"] == 1.25
    assert set(found["recovery"]) == {row.kind for row in rows}
    for kind, rate in found["recovery"].items():
        mine = [row.erased for row in rows if row.kind == kind]
        assert rate == pytest.approx(sum(b.successes for b in mine) / sum(b.trials for b in mine), abs=5e-5)
    inversions = [row.erased for row in rows if row.kind == "inversion"]
    assert found["worst_inversion"] == pytest.approx(max(b.rate for b in inversions), abs=5e-5)
    highs = [upper(b.successes, b.trials, 0.05) for b in inversions]  # whose largest covers the worst
    assert found["worst_inversion_high"] == pytest.approx(max(highs), abs=5e-5)
    assert found["retain"]["loss"] == numbers["retain"]["all"]["loss"]
    assert json.loads(json.dumps([numbers, found], allow_nan=False)) == [numbers, found]


def test_no_embedding_is_said(rows: list[Row], retain_set: RetainSet) -> None:
    found = summary([row for row in rows if row.kind != "inversion"], retain_set, [BOMB])
    assert found["worst"]["bomb"]["input"] is None
    assert "no embedding was found" in found["worst"]["bomb"]["note"]
    few = metrics(found, 1.0)
    assert (few["worst_inversion"], few["worst_inversion_high"]) == (None, None)
    assert "inversion" not in few["recovery"]


def test_the_meter_counts_both_models(examiner: Examiner) -> None:
    base = replace(examiner.base, meter=Meter())
    both = replace(examiner, base=base, erased=examiner.erased.metered(base.meter))
    both.row(BOMB, "name", "1 prompt", base.encode(["a bomb"] * 7))
    both.retain_set([BOMB], 9)
    images = 2 * (7 + 9)
    assert (base.meter.images, base.meter.evaluations) == (images, images * SAMPLING.steps * 2)


def test_no_noise_is_shared_with_the_choice(
    examiner: Examiner, found: InversionSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What tuned the strength must not judge it: every seed of the evaluation is one that no trial has used."""
    used: list[int] = []
    derive = rng.derive
    monkeypatch.setattr(rng, "derive", lambda *given: (used.append(derive(*given)), derive(*given))[1])
    vector = TaskVector.between(examiner.base.weights(), examiner.erased.weights())
    inputs = Inputs.of(examiner.base, [BOMB], {"tune": found, "validate": found}, Invert())
    context = Context(examiner.base, (BOMB,), examiner.judge, SAMPLING, Invert())
    trial = ModelTrial(context, vector, inputs, tuning_prompts(context, "choose_strength"))
    for role in ("tune", "validate"):
        trial.recovery(1.0, inputs.names[role], 2)
    trial.retain_accuracy(1.0, 4)
    searching = set(used)
    used.clear()
    examined(examiner, found, [BOMB])
    examiner.retain_set([BOMB], 4)
    assert len(searching) >= 4
    assert len(set(used)) >= len(BOMB.prompts_by_kind) + 3
    assert not searching & set(used)
