"""What is published from a run and fetched again, and the cache of steps that machines share."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows import cli
from tasks import _shared
from tasks._record import Record
from tasks._tracking import Request, record_and_register
from tests import test_storage
from tests.servers import free_port
from tests.test_storage import some_folder
from tverase.errors import ConfigError, DataError, NotProved
from tverase.files import digest_of, sha256, write_json
from tverase.storage import FolderStore

store = test_storage.store


def tell(*words: str, code: int = 0) -> str:
    """What the command says."""
    result = CliRunner().invoke(cli.app, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code
    return result.output


def a_run(outcome: str = "erased", name: str = "bomb") -> Path:
    """What a run leaves, in small."""
    out = Path("outputs") / name
    for path in ("erased/unet/weights", "erased/model_index.json", "report.html", "metrics.json", "tau.safetensors"):
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_text(path)
    write_json(out / "verdict.json", {"outcome": outcome, "title": f"{name} {outcome}", "why": "", "grounds": []})
    erased = {str(out / part): sha256(out / part) for part in ("erased", "tau.safetensors")}
    a_record("erase", outputs=erased).write(out / "records" / "erase.json")
    proof = {str(out / "evaluation"): "e" * 64}
    a_record("evaluate", inputs={"erased": erased[str(out / "erased")]}, outputs=proof).write(
        out / "records" / "evaluate.json"
    )
    return out


def a_record(step: str, key: str = "", **more: Any) -> Record:
    """A record whose key is the hash of what it says, unless another one is given."""
    inputs = more.get("inputs", {})
    made = {
        "key": key or digest_of([step, {}, {}, inputs]),
        "inputs": inputs,
        "outputs": {},
        "seconds": 1.0,
        "evaluations": 2,
    }
    return Record(**{"step": step, **made, **more})


def test_a_run_is_published_listed_and_fetched(store: FolderStore, tmp_path: Path) -> None:
    assert "nothing is published" in tell("store", "list")
    out = a_run()
    first = json.loads(tell("publish", "bomb", "--json"))
    again = json.loads(tell("publish", "bomb", "--json"))
    assert again == first
    (out / "report.html").write_text("another report")
    second = json.loads(tell("publish", "bomb", "--json"))
    rows = {row["version"]: row for row in json.loads(tell("store", "list", "--json"))}
    assert set(rows) == {first["version"], second["version"]}
    assert rows[second["version"]] == {
        "name": "bomb", "version": second["version"], "digest": second["digest"], "verdict": "erased", "files": 8,
        "bytes": sum(path.stat().st_size for path in out.rglob("*") if path.is_file()), "also": ["latest"],
    }  # fmt: skip
    assert rows[first["version"]]["also"] == []
    assert f"bomb@{second['version']}  erased  8 files" in tell("store", "list")

    tell("fetch", "bomb", "--to", "new")
    assert sha256(Path("new")) == second["digest"] == sha256(out)
    tell("fetch", f"bomb@{first['version']}", "--to", "old")
    tell("fetch", first["digest"], "--to", "old")  # there already
    assert (Path("old") / "report.html").read_text() == "report.html"
    with pytest.raises(ConfigError, match="holds something else"):
        tell("fetch", "bomb", "--to", "old")
    with pytest.raises(ConfigError, match="unknown version 'bom'; did you mean 'bomb"):
        tell("fetch", "bom", "--to", "other")


def test_the_option_names_another_store(store: FolderStore, tmp_path: Path) -> None:
    a_run()
    tell("publish", "bomb", "--to", str(tmp_path / "second"))
    assert not store.root.exists()
    assert "bomb@" in tell("store", "list", "--from", str(tmp_path / "second"))


def test_a_number_of_the_registry_is_that_of_the_store(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    out = a_run()
    with pytest.raises(ConfigError, match="they are not registered"):
        tell("publish", "bomb@1")
    content = digest_of({"erased": sha256(out / "erased"), "evaluation": "e" * 64})
    request = Request("tverase", "erase-bomb", content, "tverase-bomb", "candidate", out / "erased")
    done = record_and_register(request)
    for number, said in (("2", "they are version 1"), ("one", "is not the number")):
        with pytest.raises(ConfigError, match=said):
            tell("publish", f"bomb@{number}")
    tell("publish", f"bomb@{done.version}")
    assert json.loads(tell("store", "list", "--json"))[0]["also"] == ["1", "latest"]
    tell("fetch", "bomb@1", "--to", "back")
    assert sha256(Path("back")) == sha256(out)

    import mlflow

    mlflow.MlflowClient().set_model_version_tag("tverase-bomb", "1", "review_status", "rejected")
    with pytest.raises(NotProved, match="a reviewer rejected version 1"):
        tell("publish", "bomb@1")
    mlflow.set_tracking_uri(None)


@pytest.mark.parametrize("outcome", ["refuted", "unconfirmed", "untested"])
def test_what_is_not_proved_is_published_on_demand_only(store: FolderStore, outcome: str) -> None:
    a_run(outcome)
    with pytest.raises(NotProved, match="--unproved"):
        tell("publish", "bomb")
    assert not store.root.exists()
    tell("publish", "bomb", "--unproved")
    assert outcome in tell("store", "list")


def test_what_was_changed_since_its_evaluation_is_refused(store: FolderStore) -> None:
    with pytest.raises(ConfigError, match="has no verdict"):
        tell("publish", "bomb")
    out = a_run()
    with pytest.raises(ConfigError, match="unknown run 'bom'; did you mean 'bomb'"):
        tell("publish", "bom")
    (out / "erased" / "unet" / "weights").write_text("others")
    with pytest.raises(DataError, match="is not what its record says"):
        tell("publish", "bomb")
    made = {str(out / "erased"): sha256(out / "erased")}
    a_record("erase", outputs=made).write(out / "records" / "erase.json")
    with pytest.raises(DataError, match="is not the model that was evaluated"):
        tell("publish", "bomb")
    (out / "report.html").unlink()
    with pytest.raises(DataError, match=r"has no report\.html"):
        tell("publish", "bomb")
    assert not store.root.exists()


def a_result(folder: Path) -> tuple[dict[str, Path], Record]:
    """A step's outputs, a file and a folder, and the record of them."""
    outputs = {"vector": folder / "vector.safetensors", "tables": folder / "tables"}
    some_folder(outputs["tables"])
    outputs["vector"].write_text("numbers")
    return outputs, a_record("select", outputs={str(path): sha256(path) for path in outputs.values()})


def test_a_result_is_shared_by_its_key(store: FolderStore, tmp_path: Path) -> None:
    outputs, record = a_result(Path("outputs/bomb"))
    _shared.share(record, outputs)
    finals = {name: Path("outputs/other") / path.name for name, path in outputs.items()}
    to = {name: tmp_path / "aside" / name for name in outputs}
    (tmp_path / "aside").mkdir()
    found = _shared.restore("select", record.key, to, finals, tmp_path / "scratch")
    assert found is not None
    assert found.outputs == {str(finals[name]): sha256(to[name]) for name in to}
    assert {name: sha256(path) for name, path in to.items()} == {name: sha256(path) for name, path in outputs.items()}
    assert (found.seconds, found.evaluations, found.key) == (1.0, 2, record.key)
    for step, key, wanted in [("select", "ab13", to), ("erase", record.key, to), ("select", record.key, {"vector": to["vector"]})]:  # fmt: skip
        assert _shared.restore(step, key, wanted, finals, tmp_path / "scratch") is None
    assert _shared.restore("select", record.key, to, finals, tmp_path / "scratch", strict=True) is None


@pytest.mark.parametrize("wrong", [{"key": "cd34"}, {"outputs": {"vector": "0" * 64}}])
def test_a_result_that_is_not_what_its_record_says_is_left(
    store: FolderStore, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    outputs, record = a_result(Path("outputs/bomb"))
    told = {"outputs": {"vector": sha256(outputs["vector"])}, **wrong}
    a_record("select", **told).write(tmp_path / "record.json")
    files = {"record.json": tmp_path / "record.json", "outputs/vector": outputs["vector"]}
    store.put_ref(f"steps/select/{record.key}", store.put_files(files))
    to = {"vector": tmp_path / "vector"}
    assert _shared.restore("select", record.key, to, to, tmp_path / "scratch") is None
    assert not to["vector"].exists()


def test_without_the_variable_nothing_is_shared(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TVERASE_STORE")
    outputs, record = a_result(Path("outputs/bomb"))
    _shared.share(record, outputs)
    assert _shared.restore("select", record.key, outputs, outputs, tmp_path / "scratch") is None
    assert not store.root.exists()


def test_damaged_results_are_computed_again(
    store: FolderStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outputs, record = a_result(Path("outputs/bomb"))
    _shared.share(record, outputs)
    digest = sha256(outputs["vector"])
    (store.root / "objects" / digest[:2] / digest).write_text("numbert")
    to = {name: tmp_path / name for name in outputs}
    with caplog.at_level(logging.WARNING, "tverase"):
        assert _shared.restore("select", record.key, to, outputs, tmp_path / "scratch") is None
    assert "is damaged" in caplog.text
    assert not any(path.exists() for path in to.values())


def test_a_cache_that_is_down_costs_one_warning(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TVERASE_STORE", "s3://tverase/cache")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    outputs, record = a_result(Path("outputs/bomb"))
    with caplog.at_level(logging.WARNING, "tverase"):
        for _ in range(2):
            _shared.share(record, outputs)
            assert _shared.restore("select", record.key, outputs, outputs, tmp_path / "scratch") is None
    assert [line.getMessage().count("does not answer") for line in caplog.records] == [1]
    assert sha256(outputs["vector"]) == record.outputs[str(outputs["vector"])]
