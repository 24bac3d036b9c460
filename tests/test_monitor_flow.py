"""The monitor and the release as flows, on versions that a reviewer promoted: what is unwatched, released, alarmed and taken back.

The judge sees the concept in every image, so that each version leaks with certainty. The tests build on each other.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from reviewed import REVIEWER, client, holder, registry, summary, write_run
from typer.testing import CliRunner

from flows import cli
from flows._storage_files import resolve
from flows.monitor import monitor, require_sound
from flows.release import release
from tasks import _review
from tasks._record import Record
from tasks.register import register
from tverase.config import Params
from tverase.errors import NotProved, WrongBase
from tverase.files import read_json, sha256, write_json
from tverase.models.text2image import TextToImage
from tverase.stores import open_store
from tverase.vector import TaskVector, weights_hash

MODEL = "tverase-lamp"
SEES = """
import torch
def a_lamp(images):
    return torch.tensor([[0.9, 0.1]]).repeat(len(images), 1)
a_lamp.labels = ("lamp", "chair")
"""
LAMP = """
name: lamp
kind: object
noun: lamp
names: [a lamp]
synonyms: [a bright lamp]
compositions: [a lamp at night]
retain: {a chair: chair, a red chair: chair, a chair by day: chair, a small chair: chair}
judge: {kind: python, function: "sees:a_lamp"}
label: lamp
"""


@pytest.fixture(scope="module")
def place(prefect_server: None, tmp_path_factory: pytest.TempPathFactory, pico_folder: Path) -> Iterator[Path]:
    """A project with a concept file, a judge and a base model; the working folder is here."""
    folder = tmp_path_factory.mktemp("watched")
    shutil.copytree(pico_folder, folder / "base")
    (folder / "sees.py").write_text(SEES)
    (folder / "lamp.yaml").write_text(LAMP)
    attack = {"kind": "concept-inversion", "words": 2, "steps": 1, "batch": 1, "images": 2}
    given = {
        "concepts": ["lamp.yaml"],
        "model": "base",
        "sampling": {"steps": 1},
        "evaluate": {"attacks": {"attack": attack, "weaker": None}},
        "monitor": {"images": 4, "retain_images": 4},
        "runtime": {"threads": 1},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(given))
    with registry(folder), pytest.MonkeyPatch.context() as patch:
        patch.delenv("TVERASE_STORE", raising=False)
        yield folder


def new_version(pico: TextToImage, content: str) -> str:
    """Register what a run left, its pipeline a whole one, and let a reviewer promote it; its number."""
    params = Params.load(Path("params.yaml"))
    out = params.out
    records = write_run(params, content, _summary())
    shutil.rmtree(out / "erased")
    shutil.copytree("base", out / "erased")
    (out / "erased" / "note.txt").write_text(content)
    TaskVector({"w": next(iter(pico.weights().values()))}, weights_hash(pico.weights()), {"alpha": "1.5"}).save(
        out / "tau.safetensors"
    )
    erased = sha256(out / "erased")
    evaluate = {**vars(records["evaluate"]), "inputs": {"erased": erased}}
    erase = {**vars(records["erase"]), "outputs": {str(out / "erased"): erased}}
    for name, record in {"erase": Record(**erase), "evaluate": Record(**evaluate)}.items():
        record.write(out / "records" / f"{name}.json")
        records[name] = record
    number = str(register(params, {}, records).version)
    _review.approve(f"lamp:{number}", REVIEWER, "looks good", params.review)
    _review.promote(f"lamp:{number}", REVIEWER, "", params.review)
    return number


def _summary() -> dict[str, Any]:
    found = summary()
    rows = [{**row, "concept": "lamp"} for row in found["rows"]]
    return {**found, "concepts": ["lamp"], "rows": rows, "worst": {"lamp": found["worst"]["bomb"]}}


def tags(number: str) -> dict[str, str]:
    return dict(client().get_model_version(MODEL, number).tags)


@pytest.mark.usefixtures("place")
def test_without_a_champion_nothing_is_watched_or_released(tmp_path: Path) -> None:
    for state in (monitor(return_state=True), release(store=str(tmp_path), return_state=True)):
        assert state.name in ("Unwatched", "Unreleased")
        assert "lamp has no champion yet; `tverase review promote` makes one." in str(state.message)
        require_sound(state.result())


@pytest.mark.usefixtures("place")
def test_the_champion_is_published_and_its_lineage_leads_there(
    pico: TextToImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert new_version(pico, "one") == "1"
    monkeypatch.setenv("TVERASE_STORE", str(tmp_path / "store"))
    state = release(return_state=True)
    assert state.name == "Released"
    answer, marks = state.result(), tags("1")
    assert marks["published"] == answer["digest"] == resolve(open_store(), "lamp@1") == resolve(open_store(), "lamp")
    assert marks["published.store"] == str(tmp_path / "store")
    files = open_store().files(answer["digest"])
    assert files is not None
    assert "erased/unet/config.json" in files
    said = CliRunner().invoke(cli.app, ["lineage", "lamp@champion"])
    assert said.exit_code == 0, said.exception
    assert f"  ok    {answer['digest'][:12]}" in said.stdout
    assert release()["digest"] == answer["digest"], "a second release changes nothing"
    (Path("outputs/lamp/erased") / "note.txt").write_text("another")
    with pytest.raises(Exception, match="is not lamp:1"):
        release()
    (Path("outputs/lamp/erased") / "note.txt").write_text("one")


@pytest.mark.usefixtures("place")
def test_an_alarm_takes_the_alias_back_to_the_version_before(pico: TextToImage) -> None:
    assert new_version(pico, "two") == "2"
    assert holder(MODEL) == "2"
    state = monitor(overrides=["monitor.fall_back=true"], return_state=True)
    answer = state.result()
    assert (state.name, answer["outcome"], answer["version"]) == ("Alarm", "alarm", "lamp:2")
    assert (holder(MODEL), answer["fell_back"]) == ("1", "lamp:1 is the champion again.")
    marks = tags("2")
    assert (marks["monitor"], marks["monitor.nights"]) == ("alarm", "1")
    assert marks["monitor.alarm"].startswith("night 1: ")
    with pytest.raises(NotProved, match="lamp:2: Alarm in night 1"):
        require_sound(answer)
    night = read_json(Path(answer["history"]))["nights"][0]
    assert {name: (one["successes"], one["trials"]) for name, one in night["kinds"].items()} == {
        **dict.fromkeys(("lamp: name", "lamp: synonyms", "lamp: new"), (4, 4)),
        "lamp: attack": (2, 2),
    }
    assert night["kinds"]["lamp: name"]["bound"] == 0.01


@pytest.mark.usefixtures("place")
def test_nights_are_kept_in_the_store_and_nothing_with_an_alarm_is_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TVERASE_STORE", str(tmp_path))
    answers = [monitor(overrides=["monitor.fall_back=true"]) for _ in range(2)]
    assert [answer["night"] for answer in answers] == [1, 2]
    store = open_store()
    store.get(str(store.get_ref("monitor/tverase-lamp/v1")), tmp_path / "history.json")
    seeds = [night["seed"] for night in read_json(tmp_path / "history.json")["nights"]]
    assert len(set(seeds)) == 2
    assert holder(MODEL) == "1"
    assert "keeps its champion" in answers[0]["fell_back"]
    with pytest.raises(NotProved, match="the monitor raised an alarm"):
        release()


@pytest.mark.usefixtures("place")
def test_another_base_model_is_refused(pico_folder: Path) -> None:
    client().set_model_version_tag(MODEL, "1", "base_weights", "c" * 64)
    with pytest.raises(WrongBase, match="lamp:1 was made from base weights cccccccccccc"):
        monitor()
    path = Path("outputs/monitor/tverase-lamp/v1.json")
    write_json(path, {**read_json(path), "pipeline": "0" * 64})
    with pytest.raises(Exception, match="is of other files"):
        monitor()
