"""Openness: plug-ins of another package do the whole job, and a Stable Diffusion of another shape runs."""

import ast
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from benchmarks._openness import GUEST, PACKAGE, PLUGINS, installed, lines, patches, with_palette, write_strange_run
from benchmarks.openness import CALLABLE, MOST
from flows import cli
from flows.erase import erase_concept
from tasks._all import STEPS
from tasks._plugins import model_plugins
from tverase.concepts.resolve import producers
from tverase.config import Params
from tverase.errors import ConfigError, ModelError
from tverase.models.folder import check_folder, open_model, write_edited
from tverase.registry import KINDS, built, entries, load

ROOT = Path(__file__).parents[1]
NAMES = {"judge": "hue", "attack": "random-search", "eraser": "empty-prompt", "model": "palette", "concept": "colours"}
QUICK = [
    "make_images.images=12", "make_images.retain_images=24", "invert.steps=30", "harden.max_rounds=2",
    "evaluate.images=40", "evaluate.images_each=40", "evaluate.retain_images=80", "choose_strength.frontier=[]",
    "eraser.steps=120", "choose_strength.retain_images=160", "runtime.threads=1",
]  # fmt: skip

MADE = [step for step in STEPS if step.shipped is None][:-1]  # all but the report


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The guest's package, installed in a folder outside of the repository; gone again afterwards."""
    folder = installed(tmp_path_factory.mktemp("stranger") / "site")
    with_palette(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        producers.cache_clear()
        yield folder
    producers.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] in (PACKAGE, "lights", "sheet")]:
        del sys.modules[name]


@pytest.fixture
def here(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same as the working folder, with a registry of its own."""
    monkeypatch.chdir(site)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{site}/mlflow.db")
    return site


@pytest.mark.parametrize("kind", PLUGINS)
def test_a_plug_in_is_one_short_file(kind: str) -> None:
    path = GUEST / PLUGINS[kind]
    assert lines(path) <= MOST
    if path.suffix == ".py":
        assert list(patches(path)) == []
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        private = [name for name in modules if any(part.startswith("_") for part in name.split("."))]
        assert not private
        assert not [name for name in modules if name.partition(".")[0] in ("tasks", "flows")]


@pytest.mark.parametrize("code", ["import tverase.rng as r\nr.generator = None", "import os\nsetattr(os, 'x', 1)"])
def test_a_patch_is_noticed(code: str, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(code)
    assert len(list(patches(tmp_path / "bad.py"))) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_list_shows_the_guest_and_hides_nobody(kind: str, site: Path) -> None:
    answer = CliRunner().invoke(cli.app, ["list", f"{kind}s", "--json"])
    rows = {row["name"]: row for row in json.loads(answer.stdout)}
    mine, ours = rows[NAMES[kind]], {name for name, row in rows.items() if row["origin"] == "tverase"}
    assert mine["origin"] == "tverase-examples 1.0"
    assert len(mine["about"]) > 20
    assert ours == set(rows) - {NAMES[kind]}
    assert ours
    shown = CliRunner().invoke(cli.app, ["list", f"{kind}s"]).stdout
    assert re.search(rf"^{NAMES[kind]} .*\(from tverase-examples 1\.0\)$", shown, re.M)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "concept"])
def test_an_unknown_name_lists_the_choices(kind: str, site: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(kind, f"{NAMES[kind]}s")
    assert f"unknown {kind} '{NAMES[kind]}s'; did you mean '{NAMES[kind]}'" in str(caught.value)
    assert all(name in str(caught.value) for name in entries(kind))


WRONG = {
    "attack": (["evaluate={attacks: {guess: {kind: random-search, trys: 3}}}"], "did you mean 'tries'"),
    "eraser": (["eraser={kind: empty-prompts}"], "did you mean 'empty-prompt'"),
    "value": (["eraser={kind: empty-prompt, steps: 0}"], "eraser empty-prompt: steps = 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_spec_is_one_sentence(case: str, here: Path) -> None:
    overrides, says = WRONG[case]
    with pytest.raises(ConfigError, match=says) as caught:
        Params.load(Path("params.yaml"), overrides)
    assert "\n" not in str(caught.value)


def another(folder: Path, group: str, point: str) -> Path:
    """A distribution `squatter` with one entry point."""
    info = folder / "squatter-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: squatter\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[tverase.{group}]\n{point}\n")
    return folder


def test_a_guest_shadows_no_built_in(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(another(tmp_path, "judges", f"clip = {PACKAGE}.hue:Hue")))
    with pytest.raises(ConfigError, match=r"two judges are called 'clip', of tverase .* and squatter 1\.0"):
        load("judge", "clip")
    assert built("judge", "hue").sharpness == 4.0


def test_a_broken_family_of_somebody_else_stops_no_step(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(another(tmp_path, "models", "broken = no_such_module_of_tests:X")))
    assert "broken" in entries("model")
    assert model_plugins(Params.load(Path("params.yaml"))) == (f"{PACKAGE}.palette",)


@pytest.fixture(scope="module")
def erased(prefect_server: None, site: Path) -> dict[str, Any]:
    """The whole job with a concept file, judge, attack, eraser and model family of the guest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(site)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{site}/mlflow.db")
        return erase_concept(overrides=list(QUICK))


def test_all_five_do_the_whole_job(erased: dict[str, Any], here: Path) -> None:
    assert erased["verdict"]["outcome"] == "erased", erased["verdict"]
    assert erased["model"] == "models:/tverase-red@candidate"
    assert list(erased["steps"])[-1] == "report"
    page = Path(erased["report"]).read_text(encoding="utf-8")
    for said in ("hue/1", "attack guess", "red erased"):
        assert said in page
    evaluation = json.loads(Path("outputs/red/evaluation/evaluation.json").read_text())
    assert evaluation["judge"]["name"] == "hue/1"
    guesses = [row for row in evaluation["rows"] if row["kind"] == "guess"]
    assert len(guesses) == 2
    assert all(row["base"]["rate"] > 0.9 for row in guesses), "the attack's positive control"


def test_what_was_written_is_a_palette_again(erased: dict[str, Any], here: Path) -> None:
    folder = Path(erased["erased"])
    check_folder(folder)
    base, edited = open_model("models/palette"), open_model(folder)
    cond = base.encode(["a red square", "a blue square"])
    noise = base.start(2, torch.Generator().manual_seed(0))
    steps = torch.tensor([900, 900])
    moved = (edited.denoise(noise, steps, cond) - base.denoise(noise, steps, cond)).abs().flatten(1).mean(1)
    assert moved[0] > 5 * moved[1]


def test_a_step_reruns_with_its_plug_in_alone(erased: dict[str, Any], here: Path) -> None:
    params = Params.load(Path("params.yaml"), QUICK)
    uses = {step.name for step in STEPS if f"{PACKAGE}.random_search" in step.code_files(params)}
    assert uses == {"harden", "choose_strength", "evaluate"}
    assert {s.name for s in STEPS if f"{PACKAGE}.empty_prompt" in s.code_files(params)} == {"build_vector"}
    assert f"{PACKAGE}.hue" in next(s for s in STEPS if s.name == "make_images").code_files(params)
    assert all(f"{PACKAGE}.palette" in s.code_files(params) for s in MADE)


def test_another_concept_of_the_guest_by_name(here: Path) -> None:
    params = Params.load(Path("params.yaml"), ["concepts=[blue]"])
    (concept,) = params.concept_list
    assert (concept.source, params.judge_spec, params.name) == ("colours", {"kind": "hue"}, "blue")


def test_our_eraser_under_the_guests_attack(here: Path) -> None:
    """ESD in place of the task vector, few steps, no demands; its rows are those of the guest's attack as well."""
    overrides = [*QUICK, "eraser={kind: esd, steps: 5}", "harden.max_rounds=0", "choose_strength.attacks=[]"]
    params = Params.load(Path("params.yaml"), [*overrides, "erase.alpha=1"])
    for step in MADE:
        step.execute(params)
    rows = json.loads((params.out / "evaluation/evaluation.json").read_text())["rows"]
    assert "guess" in {row["kind"] for row in rows}


def test_a_new_step_runs_and_is_reused(erased: dict[str, Any], here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "step"))
    from sheet import STEP  # type: ignore[import-not-found]

    params = Params.load(Path("params.yaml"), QUICK)
    assert not STEP.execute(params).reused
    assert (params.out / "sheet.safetensors").exists()
    assert STEP.execute(params).reused


@pytest.mark.parametrize("damage", ["no index", "a tensor short", "another shape", "not finite", "truncated"])
def test_a_damaged_palette_is_one_sentence(damage: str, site: Path, tmp_path: Path) -> None:
    folder = with_palette_at(tmp_path / "palette", site)
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    match damage:
        case "no index":
            (folder / "model_index.json").unlink()
        case "a tensor short":
            save_file({k: v for k, v in tensors.items() if k != "keys.weight"}, weights)
        case "another shape":
            save_file({**tensors, "keys.weight": torch.zeros(2, 2)}, weights)
        case "not finite":
            save_file({**tensors, "keys.weight": torch.full_like(tensors["keys.weight"], float("nan"))}, weights)
        case "truncated":
            weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError) as caught:
        check_folder(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def with_palette_at(folder: Path, site: Path) -> Path:
    """A copy of the palette."""
    return Path(shutil.copytree(site / "models" / "palette", folder))


def test_a_written_palette_keeps_precision_and_licence(site: Path, tmp_path: Path) -> None:
    folder = with_palette_at(tmp_path / "palette", site)
    save_file({k: v.half() for k, v in load_file(folder / "model.safetensors").items()}, folder / "model.safetensors")
    (folder / "LICENSE").write_text("Free.")
    (folder / "run_me.py").write_text("raise SystemExit")
    model = open_model(folder)
    left_out = write_edited(folder, {k: 0.5 * v for k, v in model.weights().items()}, tmp_path / "edited")
    assert left_out == ("run_me.py",)
    stored = load_file(tmp_path / "edited" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert torch.equal(stored["table"], load_file(folder / "model.safetensors")["table"])
    assert (tmp_path / "edited" / "LICENSE").read_text() == "Free."
    edited = open_model(tmp_path / "edited")
    assert torch.allclose(edited.weights()["keys.weight"], 0.5 * model.weights()["keys.weight"])


def test_a_stable_diffusion_of_another_shape_is_one_yaml(
    prefect_server: None, tmp_path: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 pixels, 77 tokens, PNDM, epsilon; an own concept file; a Python function as its judge."""
    (tmp_path / "lights.py").write_text(CALLABLE)
    judge = {"kind": "python", "function": "lights:score"}
    path = write_strange_run(tmp_path, judge, "bright", texts[:200])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    model = open_model("model")
    assert (model.null.shape[1], model.sampler(3).__class__.__name__) == (77, "PNDMScheduler")
    result = erase_concept(params_file=path.name, overrides=["runtime.threads=1"])
    assert result["verdict"]["outcome"] == "untested", result["verdict"]
    page = Path(result["report"]).read_text(encoding="utf-8")
    assert "lights:score/" in page
    assert page.count("<img") > 5
    check_folder(Path(result["erased"]))


@pytest.mark.parametrize("path", sorted((ROOT / "params").glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_of_parameters_are_valid(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    params = Params.load(path)
    assert params.judge_spec
    assert yaml.safe_load(path.read_text(encoding="utf-8")).keys() <= {*Params.model_fields, "register"}
