"""The whole flow on a model of random weights: what comes out, what a second call does, and that DVC agrees byte by byte."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from flows import cli
from flows.erase import erase_concept
from tasks import choose_strength, erase, make_images
from tasks._all import MAKE_THE_MODEL, STEPS
from tasks._stages import pipeline
from tasks._tracking import configure
from tasks.report import write
from tverase.config import Params
from tverase.errors import Infeasible
from tverase.files import sha256

ROOT = Path(__file__).parents[1]
BEHIND = ["select", "harden", "choose_strength", "erase", "evaluate", "report"]
MINE = [step for step in STEPS if step.name not in MAKE_THE_MODEL]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, small_run: dict[str, Any]) -> Path:
    """A repository of git and DVC with the project's stages and sources, and params.yaml for the pico model."""
    return new_project(tmp_path_factory.mktemp("project"), small_run)


def new_project(folder: Path, params: dict[str, Any]) -> Path:
    """Make `folder` such a repository."""
    for name in ("tasks", "tverase"):  # DVC looks at the sources as files
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    (folder / "dvc.yaml").write_text(pipeline(Path("params.yaml"), Path("dvc.yaml"), folder))
    (folder / "records").mkdir()
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    dvc(folder, "init", "-q")
    return folder


def dvc(folder: Path, *arguments: str) -> str:
    """`dvc ...` in `folder`, with this Python first on the path; returns what it said."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "dvc", *arguments]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def outputs(folder: Path, params: Params) -> dict[str, str]:
    """The sha256 of everything that the steps promise; the report shows how long they took."""
    paths = [path for step in MINE if step.name != "report" for path in step.outputs(params).values()]
    return {str(path): sha256(folder / path) for path in paths}


@pytest.fixture
def params(place: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The parameters; the working folder is the project's."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place}/mlflow.db")
    return Params.load(Path("params.yaml"))


@pytest.fixture(scope="module")
def erased(prefect_server: None, place: Path) -> dict[str, Any]:
    """What the flow answers. It runs once: whatever a test takes away or changes, it brings back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place}/mlflow.db")
        answer: dict[str, Any] = erase_concept()
        return answer


def test_what_comes_out(erased: dict[str, Any], place: Path, params: Params) -> None:
    from diffusers import DiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained(params.out / "erased", local_files_only=True, safety_checker=None)
    assert pipe.unet.num_parameters() > 0
    page = Path(erased["report"]).read_text()
    assert page.count("<img") > 10
    assert "http" not in page.replace("http://www.w3.org", "")
    for name in ("metrics.json", "strength.json", "tau.safetensors", "curve.csv"):
        assert (params.out / name).exists()
    for folder in ("plots", "tables", "pictures"):
        assert any((params.out / folder).iterdir())
    metrics = json.loads((params.out / "metrics.json").read_text())
    assert set(metrics["recovery"]) >= {"name", "synonyms", "compositions"}
    assert 0 <= metrics["retain"]["erased"] <= 1
    assert set(metrics["defences"]) == {"rounded-4"}
    assert "Outer defences, apart" in page
    hardening = json.loads((params.out / "hardening.json").read_text())
    assert hardening["looks"][0]["alpha"] == hardening["teacher"] == params.harden.teachers[0]
    assert set(hardening["looks"][0]["tuned"]) > {"bomb: a bomb"}
    strength = json.loads((params.out / "strength.json").read_text())
    assert strength["tested"][0]["alpha"] == min(hardening["teacher"], params.choose_strength.alpha_max)


@pytest.mark.usefixtures("params")
def test_a_version_without_proof_has_no_alias(erased: dict[str, Any]) -> None:
    import mlflow

    configure()
    client = mlflow.MlflowClient()
    version = client.get_model_version("tverase-bomb", str(erased["version"]))
    assert erased["verdict"]["outcome"] == version.tags["verdict"] == "untested", "random weights draw no bomb"
    assert (list(version.aliases), version.tags["review_status"]) == ([], "pending")
    assert erased["model"] == f"models:/tverase-bomb/{version.version}"
    tags = client.get_run(version.run_id).data.tags
    assert tags["prefect.flow_run_id"]
    assert tags["dvc.lock.sha256"] == sha256(Path("dvc.lock")), "the lock of another run was recorded"
    assert tags["params.sha256"] != sha256(Path("params.yaml")), "what was run is what counts"
    assert {file.path for file in client.list_artifacts(version.run_id)} >= {"lineage.json", "params.yaml", "dvc.lock"}


def test_a_second_call_does_nothing(erased: dict[str, Any], place: Path, params: Params) -> None:
    before, report = outputs(place, params), Path(erased["report"])
    drawn = report.stat().st_mtime_ns
    again = erase_concept()
    assert report.stat().st_mtime_ns == drawn, "the report was written again although nothing changed"
    assert all(step["reused"] for step in again["steps"].values())
    assert again["version"] == erased["version"], "the same content is not registered twice"
    assert outputs(place, params) == before


def test_a_damaged_report_is_written_again(erased: dict[str, Any], params: Params) -> None:
    report = Path(erased["report"])
    before = report.read_bytes()
    report.write_bytes(before[:1000])
    assert write(params) == report
    assert report.read_bytes() == before


def test_a_lost_output_is_rebuilt_and_nothing_else(erased: dict[str, Any], place: Path, params: Params) -> None:
    before = outputs(place, params)
    shutil.rmtree(params.out / "inversions")
    made = [name for name, step in erase_concept()["steps"].items() if not step["reused"]]
    assert made in (["invert"], ["invert", "report"]), "the report shows how long the step took, which may be the same"
    assert outputs(place, params) == before


def test_dvc_finds_nothing_to_do_after_the_flow(erased: dict[str, Any], place: Path) -> None:
    said = dvc(place, "repro", *[step.name for step in MINE], "--single-item")
    assert "Running" not in said


def test_one_parameter_changes_what_stands_behind_it(erased: dict[str, Any], params: Params) -> None:
    answers = [erase_concept(overrides=["evaluate.images=4"]), erase_concept()]
    made = [[name for name, step in answer["steps"].items() if not step["reused"]] for answer in answers]
    assert made == [["evaluate", "report"], []], "what was there before comes back"
    # The same weights with another proof wait for their own review; the first proof is there already.
    assert [answer["version"] - erased["version"] for answer in answers] == [1, 0]


@pytest.mark.parametrize(
    ("change", "would_run"),
    [
        ([], []),
        (["finetune.steps=3"], ["finetune", "build_vector", *BEHIND]),
        (["invert.steps=3"], ["invert", *BEHIND]),
        (["harden.steps=3"], BEHIND[1:]),
        (["runtime.threads=2"], []),
    ],
)
def test_status_tells_what_a_change_would_run(
    erased: dict[str, Any], params: Params, change: list[str], would_run: list[str]
) -> None:
    options = [word for text in change for word in ("--set", text)]
    answer = CliRunner().invoke(cli.app, ["status", "--json", *options])
    found = json.loads(answer.stdout)
    assert list(found) == [step.name for step in MINE]
    assert [name for name, state in found.items() if state["state"] == "would run"] == would_run
    for name, state in found.items():
        assert bool(state["why"]) == (name in would_run)
        assert len(state["code_key"]) == 64
    changed = [f"parameter {text.partition('=')[0]}" for text in change if would_run]
    assert all(any(why.startswith(one) for why in found[would_run[0]]["why"]) for one in changed)


def test_no_strength_is_an_answer_and_nothing_is_erased(
    erased: dict[str, Any], params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(params.out, tmp_path / params.out, ignore=shutil.ignore_patterns("erased", "tau*", "strength*"))
    monkeypatch.chdir(tmp_path)
    strict = params.model_copy(update={"choose_strength": params.choose_strength.model_copy(update={"epsilon": 1e-3})})
    choose_strength.STEP.execute(strict)
    answer = json.loads((params.out / "strength.json").read_text())
    assert not answer["feasible"]
    assert answer["frontier"]
    with pytest.raises(Infeasible, match=r"choose_strength\.epsilon") as caught:
        erase.STEP.execute(strict)
    assert caught.value.exit_code == 10
    assert not (params.out / "erased").exists()
    assert not list(params.out.glob("*.part"))


@pytest.mark.slow
def test_dvc_makes_the_same_bytes(
    erased: dict[str, Any], place: Path, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(place, folder, ignore=shutil.ignore_patterns("outputs", ".tverase", "cache", "dvc.lock", "tmp"))
    for step in MINE:
        dvc(folder, "repro", step.name, "--single-item")
    assert outputs(folder, params) == outputs(place, params)
    monkeypatch.chdir(folder)
    assert all(step.execute(params).reused for step in MINE)


def test_dvc_makes_the_same_first_bytes(erased: dict[str, Any], place: Path, params: Params, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(place, folder, ignore=shutil.ignore_patterns("outputs", ".tverase", "cache", "dvc.lock", "tmp"))
    assert "Running" in dvc(folder, "repro", "make_images", "--single-item")
    for path in make_images.STEP.outputs(params).values():
        assert sha256(folder / path) == sha256(path)
