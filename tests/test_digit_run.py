"""A digit goes through the pipeline of pictures: every step and the report, on a tiny model of random weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks import finetune, invert, make_images
from tasks.__main__ import arguments
from tasks._all import chosen
from tverase.config import Params
from tverase.errors import ConfigError, ModelError
from tverase.files import read_json, read_tensors
from tverase.judges.base import NONE
from tverase.judges.cnn import CnnJudge, JudgeNet
from tverase.models.adapters import adapter_module
from tverase.models.digits import CLASSES, CODES, Digits
from tverase.models.folder import check_folder, open_model, write_edited
from tverase.registry import built
from tverase.vector import TaskVector

GRID = {"kind": "worst-input", "complexities": [2], "first": 1, "finalists": 2}
ASCENT = {"kind": "sphere-ascent", "inputs": 4, "images": 1, "kept": 2, "turns": [0.3], "children": 2, "steps": 1}
SMALL: dict[str, Any] = {
    "concepts": ["3"],
    "model": "model",
    "judge": {"kind": "cnn", "file": "model/judge.safetensors"},
    "sampling": {"steps": 1, "guidance": 1.0},
    "make_images": {"images": 6, "retain_images": 9, "at_least": 0},
    "finetune": {"steps": 2, "batch": 2, "lr": 1e-3},
    "invert": {"bins": [[0.2, 0.6], [0.9, 0.98]], "steps": 2, "batch": 1, "accept": 0, "images": 2, "look": 0},
    "harden": {"steps": 2, "batch": 2, "teacher": 1.5, "uncaptioned": 0.0, "max_rounds": 1, "inputs": 4, "images": 2}
    | {"taught": [1, 1], "attacks": [GRID], "attacked": [1.0]},
    "choose_strength": {"epsilon": 0.99, "confirm_at": 1, "delta": 1, "round": 4, "rounds": 1, "shares": [1.0, 0.5]}
    | {"attacks": [GRID], "attacked": [1.0], "retain_images": 9, "frontier": [0, 1], "frontier_images": 2},
    "evaluate": {"images": 5, "images_each": 2, "retain_images": 18, "shown": 2}
    | {"attacks": {"attack": None, "weaker": None, "grid": GRID, "ascent": ASCENT, "anywhere": {"kind": "random-inputs", "inputs": 7}}},
    "runtime": {"threads": 1},
}  # fmt: skip


def params(**changes: Any) -> Params:
    """The small run; a section that is changed keeps its other values."""
    merged = {
        k: {**SMALL.get(k, {}), **v} if isinstance(v, dict) and k not in ("eraser",) else v for k, v in changes.items()
    }
    return Params.parse({**SMALL, **merged})


def write_model(digits: Digits, folder: Path) -> None:
    digits.save(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = JudgeNet(11, width=8).eval()
    CnnJudge(net, "digit-cnn/0", (*CLASSES, NONE), 0.5).save(folder / "judge.safetensors")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, digits: Digits) -> Path:
    """A folder in which everything ran once; never written to."""
    place = tmp_path_factory.mktemp("digits")
    write_model(digits, place / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert not any(step.execute(params()).reused for step in chosen(params()))
    return place


@pytest.fixture
def place(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is the working folder."""
    shutil.copytree(finished, tmp_path / "digits")
    monkeypatch.chdir(tmp_path / "digits")
    return tmp_path / "digits"


def test_a_second_run_reuses_everything(place: Path) -> None:
    assert all(step.execute(params()).reused for step in chosen(params()))


def test_made_again_it_is_the_same_bytes(place: Path) -> None:
    for step in chosen(params())[:-1]:  # the report says when it was written
        before, after = step.last(params()), step.execute(params(), force=True)
        assert before is not None
        assert (after.reused, after.outputs, after.evaluations) == (False, before.outputs, before.evaluations)


def test_the_erased_folder_is_a_digit_model_again(place: Path) -> None:
    erased, base = open_model(place / "outputs/3/erased"), open_model(place / "model")
    check_folder(place / "outputs/3/erased")
    vector = TaskVector.load(place / "outputs/3/tau.safetensors")
    expected = vector.apply(base.weights(), float(vector.about["alpha"]))
    for key, weight in erased.weights().items():
        assert torch.allclose(weight, expected[key], atol=1e-2)  # stored in half precision
    assert any(not torch.equal(weight, base.weights()[key]) for key, weight in erased.weights().items())
    assert torch.equal(erased.encode(["4"]), base.encode(["4"]))
    card = (place / "outputs/3/erased/README.md").read_text()
    assert "`3`" in card
    assert "Stable Diffusion" not in card
    assert "judge.safetensors" in card  # named as left out: it belongs to the judge, not to the model
    assert not (place / "outputs/3/erased/judge.safetensors").exists()


def test_the_evaluation_has_a_row_for_every_attack(place: Path) -> None:
    rows = read_json(place / "outputs/3/evaluation/evaluation.json")["rows"]
    kinds = [row["kind"] for row in rows]
    assert list(dict.fromkeys(kinds)) == ["name", "inversion", "complexity 2", "ascent", "anywhere"]
    trials = {row["kind"]: row["erased"]["trials"] for row in rows}
    assert trials == {"name": 5, "inversion": 2, "complexity 2": 2, "ascent": 2, "anywhere": 7}
    assert {row["kind"] for row in rows if row["adaptive"]} == {"complexity 2", "ascent"}
    metrics = read_json(place / "outputs/3/metrics.json")
    assert {"worst_complexity 2", "worst_ascent"} <= metrics.keys()
    assert metrics["retain"]["base"] >= 0


def test_the_others_are_judged_by_their_own_names(place: Path) -> None:
    retain = read_json(place / "outputs/3/evaluation/evaluation.json")["retain"]
    (axis,) = retain["axes"].values()
    assert sorted(axis["by_label"]) == [name for name in CLASSES if name != "3"]
    assert all(pair["base"]["trials"] == 2 for pair in axis["by_label"].values())


def test_the_report_is_that_of_pictures(place: Path) -> None:
    page = (place / "outputs/3/report.html").read_text()
    assert page.count("<img") > 5
    assert "complexity 2" in page
    pictures, _ = read_tensors(place / "outputs/3/evaluation/pictures.safetensors")
    assert all(images.shape[-2:] == (28, 28) for images in pictures.values())


def test_rounds_and_the_choice_attack_by_grids_as_well(place: Path) -> None:
    findings, _ = read_tensors(place / "outputs/3/findings.safetensors")
    hardening = read_json(place / "outputs/3/hardening.json")
    assert hardening["teacher"] == 1.5
    assert hardening["looks"] == []  # the teacher was given
    assert list(findings) == [one["name"] for one in hardening["rounds"][0]["found"]]
    assert all(cond.shape == (1, 4) for cond in findings.values())
    tested = read_json(place / "outputs/3/strength.json")["tested"]
    assert [one["alpha"] for one in tested] == [1.5, 0.75]
    assert all(any("/attack/" in name for name in one["counts"]) for one in tested)


STALE: dict[
    str, tuple[dict[str, Any], list[str]]
] = {  # change, the steps that run again (an earlier one spoils the later)
    "nothing": ({}, []),
    "seed": (
        {"seed": 1},
        ["make_images", "finetune", "build_vector", "invert", "harden", "choose_strength", "evaluate"],
    ),
    "evaluate": ({"evaluate": {"retain_images": 9}}, ["evaluate"]),
    "finetune": ({"finetune": {"lr": 2e-3}}, ["finetune"]),
}


@pytest.mark.parametrize("section", STALE)
def test_a_step_is_stale_exactly_when_its_own_settings_changed(place: Path, section: str) -> None:
    changes, expected = STALE[section]
    given = params(**changes)
    assert [step.name for step in chosen(given) if not step.current(given) and step.name != "select"] == expected


def test_another_digit_has_a_folder_of_its_own(place: Path) -> None:
    other = params(concepts=["9"])
    assert not make_images.STEP.execute(other).reused
    assert sorted(path.name for path in (place / "outputs").iterdir()) == ["3", "9"]
    assert all(step.current(params()) for step in chosen(params()))


@pytest.mark.parametrize("eraser", ["esd", "resteer"])
def test_other_erasers_make_vectors_of_digits(place: Path, eraser: str) -> None:
    given = params(eraser={"kind": eraser, "steps": 2, "batch": 2, "lr": 1e-3}, harden={"max_rounds": 0})
    for step in chosen(given)[:3]:
        step.execute(given)
    vector = TaskVector.load(place / "outputs/3/vector.safetensors")
    assert vector.norm() > 0
    assert vector.about["concept"] == "3"


def test_under_its_own_label_a_digit_is_learned_otherwise(place: Path) -> None:
    before, _ = read_tensors(place / "outputs/3/finetuned/3.safetensors")
    finetune.STEP.execute(params(finetune={"named": True}))
    after, _ = read_tensors(place / "outputs/3/finetuned/3.safetensors")
    assert any(not torch.equal(weight, after[key]) for key, weight in before.items())


def test_the_digits_bring_their_judge(place: Path) -> None:
    assert Params.parse({"concepts": ["3"]}).judge_spec == {"kind": "cnn", "file": "models/digits/judge.safetensors"}
    judge = built("judge", SMALL["judge"])
    assert judge.files() == {"cnn": Path("model/judge.safetensors")}
    assert judge.open().labels == (*CLASSES, NONE)


def test_a_run_makes_only_its_own_model() -> None:
    def first(model: str) -> list[str]:
        return [step.name for step in chosen(Params.parse({"concepts": ["3"], "model": model}))][:2]

    assert first("models/digits") == ["pretrain_digits", "make_images"]
    assert first("models/emoji-sd") == ["prepare_data", "pretrain"]
    assert first("model") == ["make_images", "finetune"]


def test_a_step_takes_a_file_of_parameters() -> None:
    for words, file in (
        (["seed=1"], "params.yaml"),
        (["--params", "params/digits.yaml", "seed=1"], "params/digits.yaml"),
    ):
        given = arguments(["finetune", *words])
        assert (given.step, given.params, given.out, given.overrides) == ("finetune", Path(file), None, ["seed=1"])
    with pytest.raises(ConfigError, match="--params: expected one argument"):
        arguments(["finetune", "--params"])


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no codes": (lambda p: (p / CODES).unlink(), "no whole digit model: .*codes.safetensors is missing"),
    "codes elsewhere": (
        lambda p: ((p / CODES).rename(p.parent / CODES), (p / CODES).symlink_to(p.parent / CODES)),
        "a link that leads out of its folder",
    ),
    "no denoiser": (lambda p: shutil.rmtree(p / "unet"), "the part `unet`"),
    "another class": (
        lambda p: (p / "model_index.json").write_text(
            json.dumps({"_class_name": "DigitsPipeline", "unet": ["os", "x"]})
        ),
        "os.x; expected diffusers.UNet2DModel",
    ),
    "a truncated denoiser": (
        lambda p: (p / "unet/diffusion_pytorch_model.safetensors").write_bytes(b"\0" * 20),
        "damaged or truncated",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused(digits: Digits, tmp_path: Path, damage: str) -> None:
    spoil, words = DAMAGES[damage]
    digits.save(tmp_path / "model")
    assert adapter_module(tmp_path / "model") == "tverase.models.digits_folder"
    spoil(tmp_path / "model")
    with pytest.raises(ModelError, match=words):
        open_model(tmp_path / "model")


def test_weights_that_are_not_finite_are_refused(digits: Digits, tmp_path: Path) -> None:
    broken = {key: weight * float("nan") for key, weight in digits.weights().items()}
    digits.with_weights(broken).save(tmp_path / "model")
    with pytest.raises(ModelError, match="not finite"):
        check_folder(tmp_path / "model")


def test_writing_copies_the_codes_and_changes_no_source(digits: Digits, tmp_path: Path) -> None:
    digits.save(tmp_path / "model")
    (tmp_path / "model" / "notes.txt").write_text("mine")
    weights = {key: weight + 0.5 for key, weight in digits.weights().items()}
    assert write_edited(tmp_path / "model", weights, tmp_path / "out") == ("notes.txt",)
    found = open_model(tmp_path / "out")
    assert torch.equal(found.codes, digits.codes)
    assert all(torch.allclose(found.weights()[key], weight, atol=1e-2) for key, weight in weights.items())
    assert all(
        torch.allclose(w, digits.weights()[k], atol=1e-2) for k, w in open_model(tmp_path / "model").weights().items()
    )


def test_the_digit_model_says_where_it_computes(digits: Digits, tmp_path: Path) -> None:
    digits.save(tmp_path / "model")
    with pytest.raises(ModelError, match=r"computes on the CPU; set runtime\.device=cpu instead of cuda"):
        open_model(tmp_path / "model", "cuda")


def test_free_words_are_refused_by_the_step_that_would_learn_them(place: Path) -> None:
    with pytest.raises(ConfigError, match=r"set invert\.tokens to 1, not 2"):
        invert.STEP.execute(params(invert={"tokens": 2}))
