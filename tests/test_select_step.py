"""The step `select` on the pico pipeline: what each selector leaves, and that the default leaves everything as it was."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks import harden, select
from tasks._all import MAKE_THE_MODEL, STEPS
from tasks._stages import pipeline
from tverase.config import Params
from tverase.inversion.sets import InversionSet
from tverase.vector import TaskVector

ROOT = Path(__file__).parents[1]
FEW = {"search": {"images": 1, "retain_images": 4, "removals": 1}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, small_run: dict[str, Any]) -> Iterator[Path]:
    """A folder with the outputs of all steps before it."""
    folder = tmp_path_factory.mktemp("select")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for step in STEPS[len(MAKE_THE_MODEL) : STEPS.index(select.STEP)]:
            step.execute(Params.parse(small_run))
        yield folder


def made(small_run: dict[str, Any], **how: Any) -> tuple[Params, TaskVector, dict[str, Any]]:
    """What the step leaves: its parameters, the selected vector, and selection.json."""
    params = Params.parse({**small_run, "select": {**how, **FEW}})
    select.STEP.execute(params)
    paths = select.STEP.outputs(params)
    return params, TaskVector.load(paths["selected"]), json.loads(paths["selection"].read_text())


@pytest.mark.usefixtures("place")
def test_the_default_is_the_vector_byte_for_byte(small_run: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "context_of", lambda _: pytest.fail("the model was opened"))
    params, _, answer = made(small_run, how="all")
    assert (params.out / "selected.safetensors").read_bytes() == (params.out / "vector.safetensors").read_bytes()
    assert set(answer["strengths"].values()) == {1.0}
    assert (answer["how"], answer["evaluations"]) == ("all", 0)
    assert harden.STEP.inputs(params)["vector"] == params.out / "selected.safetensors"


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("how", ["blocks", "search"])
def test_each_selector_leaves_a_vector(small_run: dict[str, Any], how: str) -> None:
    layers = {"layers": "mid+up"} if how == "blocks" else {}
    params, found, answer = made(small_run, how=how, **layers)
    whole = TaskVector.load(params.out / "vector.safetensors")
    edited = {group for group, strength in answer["strengths"].items() if strength}
    assert edited
    assert found.base == whole.base
    assert found.about == {**whole.about, "selected": layers.get("layers", how)}
    assert found.delta.keys() <= whole.delta.keys()
    assert (found.delta.keys() < whole.delta.keys()) == (len(edited) < len(answer["strengths"]))
    assert (answer["evaluations"] > 0) == (how != "blocks")
    assert bool(answer["decisions"]) == (how != "blocks")
    before = (params.out / "selected.safetensors").read_bytes()
    assert not select.STEP.execute(params, force=True).reused
    assert (params.out / "selected.safetensors").read_bytes() == before


@pytest.mark.usefixtures("place")
def test_only_what_tunes_is_looked_at(small_run: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    load = InversionSet.load
    monkeypatch.setattr(InversionSet, "load", lambda path: opened.append(path.stem) or load(path))
    made(small_run, how="search", alpha=1.5)
    assert opened == ["tune"]


def test_dvc_watches_what_the_selector_reads(small_run: dict[str, Any], tmp_path: Path) -> None:
    content = {**small_run, "select": {"how": "search"}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    stages = yaml.safe_load(pipeline(Path("params.yaml"), Path("dvc.yaml"), tmp_path))["stages"]
    deps = {
        path.replace("${concepts[0]}", "bomb").replace("${model}", small_run["model"])
        for path in stages["select"]["deps"]
    }
    assert {str(path) for path in select.STEP.inputs(Params.parse(content)).values()} <= deps
