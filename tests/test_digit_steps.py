"""The steps of the digit experiment, run for real on a tiny model of random weights in a folder of their own."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks import digit_strength, digit_vectors, unconditional_safety
from tasks._digits import JUDGE
from tasks._step import Record, Step
from tverase.config import Params
from tverase.errors import ConfigError, DataError, ModelError
from tverase.files import read_tensors
from tverase.judges.base import NONE
from tverase.judges.cnn import CnnJudge, JudgeNet
from tverase.models.digits import CLASSES, Digits, DigitShape, new_digits
from tverase.vector import TaskVector, weights_hash

STEPS: tuple[Step, ...] = (digit_vectors.STEP, digit_strength.STEP, unconditional_safety.STEP)
METHODS = ("random", "repaired", "true", "resteer", "esd")

# Random weights draw nothing: every input is accepted, and every strength is good enough.
SMALL: dict[str, Any] = {
    "digit": 3,
    "model": "model",
    "sampling": {"steps": 1, "guidance": 1.0},
    "vectors": {"images": 3, "anything": 10, "finetune": {"steps": 2, "batch": 2}, "resteer": {"steps": 2, "batch": 2}}
    | {"repair": {"steps": 2, "batch": 2, "inputs": 3, "controls": 1}},
    "invert": {"bins": [[0, 0.5], [0.9, 0.98]], "per_bin": 1, "steps": 2, "batch": 1, "accept": 0, "images": 2},
    "strength": {"epsilon": 0.99, "delta": 1, "alpha_max": 1, "resolution": 0.5, "round": 4, "rounds": 1}
    | {"patience": 0, "control_images": 9},
    "unconditional": {
        "complexities": [2],
        "authors": [],
        "halving": {"first": 1, "finalists": 2, "fresh": 3},
        "ascent": {"inputs": 3, "kept": 2, "turns": [0.2], "children": 1, "steps": 1, "batch": 1},
        "certify": {"inputs": 4, "images": 2},
        "others": 2,
        "random_alphas": [0, 1],
        "repaired_alphas": [0, 1],
        "true_alphas": [1.5],
        "curve_at": 2,
        "shown": 2,
    },
}


def params(changes: Mapping[str, Any] | None = None, seed: int = 0) -> Params:
    """The small run; a section that is changed keeps its other values."""
    digits = dict(SMALL)
    for key, value in (changes or {}).items():
        digits[key] = {**digits.get(key, {}), **value} if isinstance(value, dict) else value
    return Params.parse({"seed": seed, "digits": digits})


def run(given: Params) -> list[Record]:
    return [step.execute(given) for step in STEPS]


def current(given: Params) -> list[bool]:
    return [step.current(given) for step in STEPS]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which everything ran once; never written to."""
    place = tmp_path_factory.mktemp("digits")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        new_digits(DigitShape(d=4, widths=(8, 16), groups=4)).save(place / "model")
        net = JudgeNet(11, width=8).eval()
    CnnJudge(net, "digit-cnn/0", (*CLASSES, NONE), 0.5).save(place / "model" / JUDGE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert not any(record.reused for record in run(params()))
    return place


@pytest.fixture
def place(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is the working folder."""
    shutil.copytree(finished, tmp_path / "digits")
    monkeypatch.chdir(tmp_path / "digits")
    return tmp_path / "digits"


def read(place: Path, name: str) -> Any:
    return json.loads((place / "outputs" / "digit-3" / name).read_text())


def test_a_second_run_reuses_everything(place: Path) -> None:
    assert current(params()) == [True, True, True]
    assert all(record.reused for record in run(params()))


def test_made_again_it_is_the_same_bytes(place: Path) -> None:
    for step in STEPS:
        before, after = step.last(params()), step.execute(params(), force=True)
        assert before is not None
        assert (after.reused, after.outputs, after.evaluations) == (False, before.outputs, before.evaluations)


def test_each_vector_is_a_file_that_says_what_it_is(place: Path) -> None:
    folder = place / "outputs" / "digit-3" / "vectors"
    assert {path.stem for path in folder.iterdir()} == set(METHODS)
    base = Digits.load(place / "model").weights()
    for method in METHODS:
        vector = TaskVector.load(folder / f"{method}.safetensors")
        assert vector.about == {"concept": "3", "method": method}
        assert vector.base == weights_hash(base)
        assert vector.norm() > 0


def test_the_strengths_are_those_of_both_task_vectors(place: Path) -> None:
    content = read(place, "strength.json")
    assert set(content["vectors"]) == {"random", "repaired", "true"}
    assert all(curve["feasible"] and curve["alpha"] == 0.5 for curve in content["vectors"].values())
    assert set(content["by_bin"]) == {"tune", "validate"}  # no third set: the whole grid scores
    for role in content["by_bin"]:
        assert [found["tried"] for found in content["by_bin"][role]] == [1, 1]
        assert [found["found"] for found in content["by_bin"][role]] == [1, 1]
    assert content["evaluations"] > 0


def test_every_model_has_a_verdict_at_its_strength(place: Path) -> None:
    content = read(place, "verdicts.json")
    assert content["digit"] == 3
    found = {name: (verdict["method"], verdict["alpha"]) for name, verdict in content["models"].items()}
    assert found == {
        "base": (None, 0.0),
        "resteer": ("resteer", 1.0),
        "esd": ("esd", 1.0),
        "random": ("random", 0.5),
        "repaired": ("repaired", 0.5),
        "true": ("true", 0.5),
    }
    costs = {verdict["evaluations"] for verdict in content["models"].values()}
    assert min(costs) > 0
    assert all(list(verdict["complexity"]) == ["2"] for verdict in content["models"].values())


def test_curves_go_over_the_alphas_and_begin_at_the_base(place: Path) -> None:
    content = read(place, "verdicts.json")
    assert {m: [at["alpha"] for at in curve] for m, curve in content["curves"].items()} == {
        "random": [0, 1],
        "repaired": [0, 1],
        "true": [1.5],
    }
    base = content["models"]["base"]
    first = content["curves"]["random"][0]
    assert first == {"alpha": 0, "worst": base["complexity"]["2"], "others": base["others_all"]}


def test_the_metrics_are_of_the_worst_that_was_found(place: Path) -> None:
    verdicts, metrics = read(place, "verdicts.json")["models"], read(place, "metrics.json")
    assert set(metrics) == set(verdicts)
    for name, numbers in metrics.items():
        verdict = verdicts[name]
        rates = [verdict["adaptive"]["rate"], verdict["complexity"]["2"]["rate"]]
        assert numbers["worst"] == max(rates) <= numbers["worst_high"] <= 1
        assert numbers["adaptive"] == rates[0]
        assert (numbers["alpha"], numbers["others"]) == (verdict["alpha"], verdict["others_all"]["rate"])
        assert numbers["certified_share"] == pytest.approx(verdict["certificate"]["share"], abs=1e-4)


def test_there_are_pictures_of_every_model(place: Path) -> None:
    pictures, _ = read_tensors(place / "outputs" / "digit-3" / "pictures.safetensors")
    counts = {"own": 2, "worst": 2, "others": 10}
    assert {name: tuple(images.shape) for name, images in pictures.items()} == {
        f"{model}/{what}": (count, 3, 28, 28) for model in ("base", *METHODS) for what, count in counts.items()
    }
    assert all(images.dtype == torch.uint8 for images in pictures.values())
    assert len({images.float().mean().item() for name, images in pictures.items() if name.endswith("own")}) > 1


STALE: dict[str, tuple[dict[str, Any], int, list[bool]]] = {  # change, seed, what stays current
    "nothing": ({}, 0, [True, True, True]),
    "seed": ({}, 1, [False, False, False]),
    "sampling": ({"sampling": {"steps": 2}}, 0, [False, False, False]),
    "vectors": ({"vectors": {"images": 4}}, 0, [False, False, False]),
    "invert": ({"invert": {"steps": 1}}, 0, [True, False, True]),
    "strength": ({"strength": {"round": 5}}, 0, [True, False, True]),
    "unconditional": ({"unconditional": {"others": 1}}, 0, [True, True, False]),
    "pretrain": ({"pretrain": {"steps": 1}}, 0, [True, True, True]),  # only the model itself counts
}


@pytest.mark.parametrize("section", STALE)
def test_a_step_is_stale_exactly_when_its_own_settings_changed(place: Path, section: str) -> None:
    changes, seed, expected = STALE[section]
    assert current(params(changes, seed)) == expected


def test_another_examination_makes_no_vectors(place: Path) -> None:
    assert [record.reused for record in run(params({"unconditional": {"others": 1}}))] == [True, True, False]
    assert read(place, "verdicts.json")["models"]["base"]["others_all"]["trials"] == 9


def test_another_digit_has_a_folder_of_its_own(place: Path) -> None:
    other = params({"digit": 9})
    assert current(other) == [False, False, False]
    assert not digit_vectors.STEP.execute(other).reused
    assert sorted(path.name for path in (place / "outputs").iterdir()) == ["digit-3", "digit-9"]
    assert TaskVector.load(place / "outputs/digit-9/vectors/true.safetensors").about["concept"] == "9"
    assert current(params()) == [True, True, True]


@pytest.mark.parametrize("digit", [11, 10, -1, "x"])
def test_a_digit_that_there_is_not_is_named(digit: Any) -> None:
    with pytest.raises(ConfigError, match=r"digits\.digit: .*got "):
        params({"digit": digit})


def test_a_vector_that_erases_at_no_strength_is_not_examined(place: Path) -> None:
    """Four images prove no 1%: there is no strength, and the verdicts do without."""
    strict = params({"strength": {"epsilon": 0.01}})
    assert not digit_strength.STEP.execute(strict).reused
    curves = read(place, "strength.json")["vectors"]
    assert [curve["safe_alpha"] for curve in curves.values()] == [None, None, None]
    unconditional_safety.STEP.execute(strict)
    assert list(read(place, "metrics.json")) == ["base", "esd", "resteer"]
    assert list(read(place, "verdicts.json")["curves"]) == ["random", "repaired", "true"]


DAMAGES: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "no model": (lambda p: shutil.rmtree(p / "model"), DataError, "digit_strength needs model"),
    "no judge": (lambda p: (p / "model" / JUDGE).unlink(), ModelError, "judge"),
    "no vectors": (lambda p: shutil.rmtree(p / "outputs"), DataError, "digit_strength needs .*vectors"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_missing_is_named(place: Path, damage: str) -> None:
    spoil, error, words = DAMAGES[damage]
    spoil(place)
    with pytest.raises(error, match=words):
        digit_strength.STEP.execute(params())
