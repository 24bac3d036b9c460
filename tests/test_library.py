"""`import tverase`: one call erases, each step works alone, the numbers are the pipeline's, and nothing is written."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import tverase
from tasks._all import chosen
from tverase import Concept, Params, Result, TveraseError, erase, open_model, prepare
from tverase.bars import _cell, show
from tverase.errors import ConfigError, Infeasible
from tverase.files import read_json, sha256
from tverase.judges.base import Judge
from tverase.progress import Progress
from tverase.registry import built

ROOT = Path(__file__).parents[1]
SECTIONS = ("sampling", "make_images", "finetune", "invert", "select", "harden", "choose_strength", "evaluate")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, pico_folder: Path, judges_folder: Path) -> Iterator[Path]:
    """A working folder with nothing but links to the models, as in the repository."""
    place = tmp_path_factory.mktemp("library")
    (place / "models").mkdir()
    (place / "models/emoji-sd").symlink_to(pico_folder)
    (place / "models/judges").symlink_to(judges_folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        yield place


@pytest.fixture(scope="module")
def small(small_run: dict[str, Any]) -> dict[str, Any]:
    """The sections of a run of seconds."""
    return {name: small_run[name] for name in SECTIONS}


@pytest.fixture(scope="module")
def result(place: Path, small: dict[str, Any]) -> Result:
    """What one call returns."""
    return erase(open_model("models/emoji-sd"), Concept.named("bomb"), progress=False, **small)


def found(place: Path) -> set[str]:
    return {path.relative_to(place).as_posix() for path in place.rglob("*")}


def test_what_is_exported_says_what_it_is() -> None:
    assert len(tverase.__all__) <= 17
    assert set(tverase.__all__) <= set(dir(tverase))
    for name in tverase.__all__:
        assert (getattr(tverase, name).__doc__ or "").strip(), name
    assert re.fullmatch(r"\d+\.\d+\.\d+", tverase.__version__)
    with pytest.raises(AttributeError, match="erasse"):
        tverase.erasse  # noqa: B018


def test_erase_writes_nothing(place: Path, result: Result) -> None:
    assert found(place) == {"models", "models/emoji-sd", "models/judges"}
    assert result.report().startswith("Untested: bomb: not tested\n")
    assert "name: " in result.report()
    assert not result.verdict.proved


def test_the_numbers_are_those_of_the_pipeline(
    result: Result, small_run: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = Params.parse(small_run)
    for step in chosen(params):
        step.execute(params)
    assert result.alpha == read_json(params.out / "strength.json")["alpha"]
    assert dict(result.metrics) == read_json(params.out / "metrics.json")
    assert result.verdict.outcome == read_json(params.out / "verdict.json")["outcome"]
    saved = result.save("saved", small_run["model"])
    weights = "unet/diffusion_pytorch_model.safetensors"
    assert sha256(saved / weights) == sha256(params.out / "erased" / weights)


def test_a_saved_model_opens_and_has_its_report(result: Result, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    saved = result.save(tmp_path / "erased")
    pipe = StableDiffusionPipeline.from_pretrained(saved, local_files_only=True, safety_checker=None)
    mine = open_model(saved).weights()
    assert all(torch.equal(weight, mine[name]) for name, weight in pipe.unet.named_parameters())
    assert any(not torch.equal(weight, mine[name]) for name, weight in result.model.weights().items())
    assert "without `bomb`" in (saved / "README.md").read_text()
    assert read_json(saved / "tverase/metrics.json") == dict(result.metrics)
    assert "bomb: not tested" in (saved / "tverase/report.html").read_text()
    with pytest.raises(ConfigError, match="exists"):
        result.save(saved)


def test_a_model_of_unknown_origin_is_erased_but_needs_its_folder(
    place: Path, pico: Any, small: dict[str, Any], tmp_path: Path
) -> None:
    given = {"evaluate": {**small["evaluate"], "defences": []}}
    result = erase(pico, "bomb", progress=False, erase={"alpha": 0.5}, **{**small, **given})
    assert result.alpha == 0.5
    assert result.erased.weights().keys() == pico.weights().keys()
    with pytest.raises(ConfigError, match="source"):
        result.save(tmp_path / "erased")
    assert result.save(tmp_path / "erased", "models/emoji-sd").is_dir()


class Everything:
    """A judge that sees every label in every image."""

    name, accuracy, threshold = "everything/1", None, 0.5

    def __init__(self, judge: Judge) -> None:
        self.labels, self.axes = judge.labels, judge.axes

    def sees(self, images: torch.Tensor, wanted: Any) -> torch.Tensor:
        return torch.ones(len(images), dtype=torch.bool)

    def scores(self, images: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(images), len(self.labels))


def test_an_infeasible_erasure_is_a_result(place: Path, small: dict[str, Any], tmp_path: Path) -> None:
    judge = Everything(built("judge", "embedded").open())
    strict = {"choose_strength": {**small["choose_strength"], "epsilon": 0.3, "round": 20}}
    result = erase(open_model("models/emoji-sd"), "bomb", judge=judge, progress=False, **{**small, **strict})
    assert (result.alpha, result.verdict.outcome, dict(result.metrics)) == (None, "infeasible", {})
    assert result.report().startswith("Infeasible: bomb not erased: infeasible\n")
    assert "infeasible" in result.report_html(tmp_path / "report.html").read_text()
    with pytest.raises(Infeasible):
        result.save(tmp_path / "erased")


def test_each_step_works_alone(place: Path, result: Result, small: dict[str, Any]) -> None:
    params = Params.parse(small)
    context = prepare(open_model("models/emoji-sd"), ["bomb"], params)
    before = {name: weight.clone() for name, weight in context.model.weights().items()}
    images = tverase.make_images(context, params.make_images)
    weights = tverase.fine_tune(context, images, params.finetune)
    vector = tverase.build_vector(context, weights)
    sets = tverase.invert(context, images).sets
    hardened = tverase.harden(context, vector, images, sets["tune"], params.harden)
    how = params.choose_strength, hardened.teacher
    choice = tverase.choose_strength(context, hardened.vector, images, sets["tune"], sets["validate"], *how)
    assert choice.alpha == result.alpha
    erased = context.model.with_weights(hardened.vector.apply(before, result.alpha or 0.0))
    evaluation = tverase.evaluate(context, erased, sets["report"], params.evaluate)
    assert evaluation.metrics(0.5).keys() == result.metrics.keys()
    assert all(torch.equal(weight, before[name]) for name, weight in context.model.weights().items())
    assert found(place) == {"models", "models/emoji-sd", "models/judges"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"finetun": {}}, "did you mean 'finetune'"),
        ({"finetune": {"step": 1}}, "finetune.step"),
        ({"effort": "fast"}, "effort"),
        ({"runtime": {}}, "runtime is no section"),
        ({"judge": {"kind": "embeded"}}, "did you mean 'embedded'"),
    ],
)
def test_a_mistake_is_one_sentence(place: Path, pico: Any, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(TveraseError, match=re.escape(says)):
        erase(pico, "bomb", **arguments)


def test_no_concept_and_a_file_of_several_are_refused(place: Path, pico: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no concept is given"):
        erase(pico, [])
    group = tmp_path / "group.yaml"
    group.write_text("concepts: [bomb, skull]\n")
    with pytest.raises(ConfigError, match="lists several concepts"):
        Concept.named(str(group))


def test_progress_is_lines_in_a_log_and_bars_in_a_notebook(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tverase.bars.PLAIN_EVERY", 0.0)
    with show("finetune") as tell:
        tell(Progress("fine-tuning on bomb", 3, 200, "loss 0.1"))
    assert capsys.readouterr().err == "finetune: fine-tuning on bomb 3/200 loss 0.1\n"
    cells: list[dict[str, str]] = []

    class Handle:
        def update(self, shown: dict[str, str], *, raw: bool) -> None:
            cells[-1] = shown

    def display(shown: dict[str, str], *, raw: bool, display_id: bool) -> Handle:
        cells.append(shown)
        return Handle()

    tell = _cell("finetune", display)
    tell(Progress("fine-tuning on bomb", 3, 200, "loss <1"))
    tell(Progress("fine-tuning on bomb", 4, 200))
    assert len(cells) == 1, "one bar, updated in place"
    assert '<progress value="4" max="200">' in cells[0]["text/html"]


def blocks(page: str) -> list[str]:
    """The Python blocks of a page that use the library."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "from tverase import" in block]


def run(block: str) -> str:
    """What a block prints."""
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(block, {})
    return out.getvalue()


def test_the_block_of_the_readme_runs(
    place: Path, small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = blocks("README.md")
    assert 'effort="quick"' in block
    assert len(block.splitlines()) <= 10
    (tmp_path / "models").symlink_to(place / "models")
    monkeypatch.chdir(tmp_path)
    assert "bomb" in run(block.replace('effort="quick"', f"progress=False, **{small!r}"))
    assert set(os.listdir()) == {"models", "erased"}


@pytest.mark.slow
def test_the_block_of_the_readme_erases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = blocks("README.md")
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    said = run(block)
    assert said.startswith(("bomb erased\n", "Unconfirmed: bomb erased")), said
    assert (tmp_path / "erased/model_index.json").exists()


def test_the_blocks_of_the_page_run(
    place: Path, small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").symlink_to(place / "models")
    monkeypatch.chdir(tmp_path)
    (block,) = blocks("docs/library.md")
    assert 'Params(effort="quick")' in block
    assert "bomb" in run(block.replace('Params(effort="quick")', f"Params.parse({small!r})"))
