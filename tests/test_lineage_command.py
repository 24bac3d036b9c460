"""`tverase lineage` on a real run: from the served version back to the data, and every kind of damage is found."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_flow import MINE, new_project
from typer.testing import CliRunner

from flows import cli
from flows.erase import erase_concept
from flows.monitor import monitor
from flows.release import release
from tasks._records import lineage
from tasks._tracking import configure
from tverase.config import Params
from tverase.errors import DataError, NotProved, TveraseError
from tverase.files import read_json, sha256

OUT = Path("outputs/bomb")


@pytest.fixture(scope="module")
def place(prefect_server: None, tmp_path_factory: pytest.TempPathFactory, small_run: dict[str, Any]) -> Iterator[Path]:
    """A committed project with a base model of its own, whose one version is the champion; the working folder is here."""
    folder = tmp_path_factory.mktemp("lineage")
    shutil.copytree(small_run["model"], folder / "base")
    new_project(folder, {**small_run, "model": "base", "monitor": {"images": 4, "retain_images": 4}})
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com"]
    for words in (["add", "params.yaml", "dvc.yaml", ".dvc"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], cwd=folder, check=True)
    subprocess.run(["git", "config", "user.name", "a"], cwd=folder, check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.delenv("TVERASE_STORE", raising=False)
        erase_concept()
        client().set_registered_model_alias("tverase-bomb", "champion", "1")
        yield folder


def client() -> Any:
    import mlflow

    configure()
    return mlflow.MlflowClient()


def links(version: str = "bomb@champion") -> tuple[int, list[dict[str, Any]]]:
    """Exit code and links; the code is that of the error that ends the command."""
    answer = CliRunner().invoke(cli.app, ["lineage", version, "--json"])
    error = answer.exception
    assert error is None or isinstance(error, TveraseError), error
    return (error.exit_code if isinstance(error, TveraseError) else 0), json.loads(answer.stdout or "[]")


def wrong() -> list[str]:
    code, found = links()
    broken = [f"{link['about']}, {link['name']}" for link in found if link["state"] == "wrong"]
    assert code == (3 if broken else 0)
    return broken


@contextmanager
def changed(path: Path) -> Iterator[None]:
    """A file with one more byte, and as it was afterwards."""
    before = path.read_bytes()
    path.write_bytes(before + b" ")
    try:
        yield
    finally:
        path.write_bytes(before)


@pytest.mark.usefixtures("place")
def test_the_chain_is_whole() -> None:
    code, found = links()
    assert code == 0
    states = [link["state"] for link in found]
    assert "wrong" not in states
    assert states.count("same") > 30
    abouts = [link["about"] for link in found]
    assert list(dict.fromkeys(abouts)) == [
        "version", "run", "flow run", "git", *(f"step {step.name}" for step in reversed(MINE)),
    ]  # fmt: skip
    by_name = {(link["about"], link["name"]): link for link in found}
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert by_name[("git", head[:12])]["says"] == "in this checkout, with changes that are not in it"
    assert by_name[("git", "source")]["says"].endswith(f"of {len(MINE)} steps have the source of this checkout")
    assert by_name[("step evaluate", "input erased")]["says"] == "made by erase"
    data = by_name[("step finetune", "input model")]
    assert (data["says"], data["state"], data["digest"]) == ("data in base", "same", sha256(Path("base")))
    assert by_name[("step erase", "key")]["digest"] == read_json(OUT / "records/erase.json")["key"]


@pytest.mark.usefixtures("place")
def test_it_is_readable() -> None:
    lines = CliRunner().invoke(cli.app, ["lineage", "bomb"]).stdout.splitlines()
    assert lines[0] == "version"
    assert "bomb:1" in lines[1]
    assert "alias champion" in lines[1]
    assert any(line.startswith("  ok    input erased") and line.endswith("made by erase") for line in lines)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("outputs/bomb/tau.safetensors", f"step erase, output {OUT}/tau.safetensors"),
        ("base/unet/config.json", "step evaluate, input model"),
    ],
)
def test_changed_bytes_here_are_found(path: str, says: str) -> None:
    with changed(Path(path)):
        assert says in wrong()
    assert wrong() == []


@pytest.mark.usefixtures("place")
def test_changed_bytes_in_the_registry_are_found() -> None:
    version = client().get_model_version("tverase-bomb", "1")
    model = Path(client().get_logged_model(version.source.removeprefix("models:/")).artifact_location)
    run = Path(client().get_run(version.run_id).info.artifact_uri)
    with changed(model / "artifacts/erased/unet/config.json"):
        assert wrong() == ["version, pipeline"]
        with pytest.raises(DataError, match="not those that were evaluated"):
            monitor()
    with changed(run / "evaluation.json"):
        assert wrong() == ["run, evaluation.json"]
    client().set_model_version_tag("tverase-bomb", "1", "content_hash", "f" * 64)
    assert wrong() == ["version, content_hash"]
    right = {name: sha256(OUT / name) for name in ("erased", "evaluation")}
    from tverase.files import digest_of

    client().set_model_version_tag("tverase-bomb", "1", "content_hash", digest_of(right))
    assert wrong() == []


@pytest.mark.usefixtures("place")
def test_another_result_in_its_place_is_not_damage() -> None:
    record = OUT / "records/evaluate.json"
    content = read_json(record)
    with changed(OUT / "metrics.json"), changed(record):
        record.write_text(json.dumps({**content, "key": "0" * 64}))
        code, found = links()
    assert code == 0
    says = {link["name"]: link["says"] for link in found}
    assert says[f"output {OUT}/metrics.json"] == says["input record/evaluate"] == "another result is here now"


@pytest.mark.usefixtures("place")
def test_a_version_that_is_not_there_is_one_sentence() -> None:
    assert links("bomb:9") == (2, [])
    assert links("bomb@hero") == (2, [])


@pytest.mark.usefixtures("place")
def test_a_real_night_of_a_real_run_and_no_release_without_proof(tmp_path: Path) -> None:
    """Random weights draw no bomb, so the night proves nothing and says so; what is not proved is not released."""
    answers = [monitor(), monitor()]
    assert [answer["outcome"] for answer in answers] == ["blind", "blind"]
    history = read_json(Path(answers[1]["history"]))
    assert [night["number"] for night in history["nights"]] == [1, 2]
    assert len({night["seed"] for night in history["nights"]}) == 2
    kinds = history["nights"][0]["kinds"]
    assert {f"bomb: {kind}" for kind in ("name", "synonyms", "compositions", "new", "attack", "states")} <= kinds.keys()
    tags = client().get_model_version("tverase-bomb", "1").tags
    assert (tags["monitor"], tags["monitor.nights"]) == ("blind", "2")
    with pytest.raises(NotProved, match="untested"):
        release(store=str(tmp_path / "store"))


def test_an_image_without_git_knows_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert lineage(tmp_path) == {}
    monkeypatch.setenv("TVERASE_GIT_COMMIT", "c" * 40)
    monkeypatch.setenv("TVERASE_GIT_DIRTY", "false")
    monkeypatch.setenv("TVERASE_DVC_REMOTE", "https://me:Tr0ub4dor@h.example/dvc")
    found = lineage(tmp_path)
    assert found == {"git.commit": "c" * 40, "git.dirty": "false", "dvc.remote": "https://h.example/dvc"}
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text(
        "[core]\n    remote = store\n['remote \"store\"']\n    url = s3://b/dvc\n"
    )
    assert lineage(tmp_path)["dvc.remote"] == "s3://b/dvc", "a checkout knows better"


def test_parameters_name_the_champion() -> None:
    assert Params.parse({}).review.alias == "champion"
