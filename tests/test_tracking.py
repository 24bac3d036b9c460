"""Runs and registered versions, on an SQLite store and a pico pipeline."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image

from tasks import _artifacts, _records, _tracking
from tasks._tracking import Registration, Request
from tverase.errors import TrackingError
from tverase.models import build
from tverase.models.tokens import train_tokenizer
from tverase.pretrain.emoji import assemble

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NAME = "tverase-slot-machine+bomb"


@pytest.fixture(scope="session")
def pico(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["a bomb", "a slot machine"], build.PICO.tokens)
    folder = tmp_path_factory.mktemp("pico") / "erased"
    assemble(
        folder,
        vae=build.autoencoder(build.PICO),
        tokenizer=tokenizer,
        text_encoder=build.text_encoder(build.PICO, tokenizer),
        unet=build.unet(build.PICO),
    )
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with one SQLite store for all tests here, and a secret in the environment."""
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        yield folder
        import mlflow

        mlflow.set_tracking_uri(None)


@pytest.fixture
def client(place: Path) -> Any:
    """MLflow pointed at that store, wherever the test before has pointed it."""
    _tracking.configure()
    import mlflow

    return mlflow.MlflowClient()


@pytest.fixture(scope="module")
def request_(place: Path, pico: Path) -> Request:
    Image.new("RGB", (4, 4)).save(place / "curve.png")
    (place / "recovery.csv").write_text("kind,rate\nnames,0.05\nsynonyms,0.1\n")
    (place / "params.yaml").write_text("seed: 0\n")
    return Request(
        experiment="tverase",
        model_name=NAME,
        alias="candidate",
        sampling={"steps": 3, "guidance": 1.5},
        run_name="slot-machine+bomb",
        pipeline=pico,
        content_hash="a" * 64,
        description="## Review\nTwo concepts.",
        params={
            "seed": 0,
            "concepts": ("slot machine", "bomb"),
            "model": f"https://someone:{SECRET}@models.example/sd",
            "erase": {"alpha": None},
            "long": "x" * 9000,
            "many": {str(i): i for i in range(120)},
        },
        metrics={"alpha": 1.5, "recovery": {"names": 0.05, "kitchen knife, old": 0.0}, "worst": None, "note": "none"},
        figures=[place / "curve.png"],
        tables=[place / "recovery.csv"],
        files=[place / "params.yaml"],
        datasets={"images": "b" * 64, "embeddings": "c" * 64},
        tags={"concept": "slot machine, bomb", "alpha": "1.5", "git.commit": "d" * 40, "told": f"key {SECRET}"},
    )


@pytest.fixture(scope="module")
def first(request_: Request) -> Registration:
    return _tracking.record_and_register(request_)


def draw(uri: str, **params: Any) -> bytes:
    import mlflow

    drawn = mlflow.pyfunc.load_model(uri).predict(pd.DataFrame({"prompt": ["a bomb"]}), params=params or None)
    png: bytes = drawn["image_png"].iloc[0]
    return png


def test_the_registered_pipeline_draws(first: Registration, client: Any) -> None:
    assert (first.version, first.created, first.run_url) == (1, True, "")
    assert first.uri == f"models:/{NAME}@candidate"
    png = draw(first.uri, num_inference_steps=2, seed=1)
    with Image.open(BytesIO(png)) as image:
        image.load()
        assert (image.format, image.size) == ("PNG", (8, 8))
    assert draw(first.uri, num_inference_steps=2, seed=1) == png
    assert draw(first.uri, num_inference_steps=2, seed=2) != png
    measured = draw(first.uri, num_inference_steps=3, guidance_scale=1.5, seed=0)
    assert draw(first.uri) == measured, "it draws as it was measured"
    assert draw(first.uri, guidance_scale=3.0) != measured
    with pytest.raises(ValueError, match="1 or more"):
        draw(first.uri, num_inference_steps=0)


def test_nothing_is_pickled_and_requirements_are_pinned(first: Registration, client: Any, tmp_path: Path) -> None:
    import mlflow

    folder = Path(mlflow.artifacts.download_artifacts(first.uri, dst_path=str(tmp_path)))
    names = [p.name for p in folder.rglob("*") if p.is_file()]
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".bin", ".pt"))]
    assert "_pyfunc.py" in names
    pins = (folder / "requirements.txt").read_text().split()
    assert all("==" in pin and "+" not in pin for pin in pins)
    assert {pin.split("==")[0] for pin in pins} >= set(_artifacts.PINNED)


def test_the_run_holds_everything(first: Registration, client: Any) -> None:
    run = client.get_run(first.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "slot-machine+bomb")
    assert run.data.params["concepts"] == "slot machine, bomb"
    assert run.data.params["erase.alpha"] == "null"
    assert len(run.data.params["long"]) == _records.LONGEST
    assert run.data.params["many.119"] == "119"
    assert run.data.metrics == {"alpha": 1.5, "recovery.names": 0.05, "recovery.kitchen knife_ old": 0.0}
    assert run.data.tags["mlflow.source.git.commit"] == run.data.tags["git.commit"] == "d" * 40
    assert {(d.dataset.name, d.dataset.digest) for d in run.inputs.dataset_inputs} == {
        ("images", "b" * 32),
        ("embeddings", "c" * 32),
    }
    assert {a.path for a in client.list_artifacts(first.run_id)} >= {
        "figures",
        "tables",
        "params.yaml",
        "recovery.json",
    }


def test_the_version_and_the_logged_model_lead_back(first: Registration, client: Any) -> None:
    version = client.get_model_version_by_alias(NAME, "candidate")
    assert version.run_id == first.run_id
    assert version.tags.items() >= {"content_hash": "a" * 64, "review_status": "pending", "alpha": "1.5"}.items()
    assert version.description.startswith("## Review")
    model = client.get_logged_model(version.source.removeprefix("models:/"))
    assert {m.key: m.value for m in model.metrics}["recovery.names"] == 0.05
    assert model.params["seed"] == "0"
    assert model.tags["concept"] == "slot machine, bomb"
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": NAME, "version": version.version}]


def test_no_secret_is_recorded(first: Registration, client: Any) -> None:
    run, version = client.get_run(first.run_id), client.get_model_version(NAME, "1")
    model = client.get_logged_model(version.source.removeprefix("models:/"))
    told = [*run.data.params.values(), *run.data.tags.values(), *version.tags.values(), *model.tags.values()]
    assert run.data.params["model"] == "https://models.example/sd"
    assert run.data.tags["told"] == "key ***"
    assert not [text for text in told if SECRET in text]


def test_the_same_content_is_registered_once_and_other_content_moves_the_alias(
    first: Registration, request_: Request, client: Any
) -> None:
    source = client.get_model_version_by_alias(NAME, "candidate").source.removeprefix("models:/")
    cache = Path(client.get_logged_model(source).artifact_location.removeprefix("file://")) / "code" / "__pycache__"
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "loader.pyc").write_bytes(b"what Python leaves where it has loaded the model")
    runs = len(client.search_runs([client.get_experiment_by_name("tverase").experiment_id]))
    assert _tracking.record_and_register(request_) == replace(first, created=False)
    assert len(client.search_runs([client.get_experiment_by_name("tverase").experiment_id])) == runs

    second = _tracking.record_and_register(replace(request_, content_hash="e" * 64))
    assert (second.version, second.created) == (2, True)
    assert str(client.get_model_version_by_alias(NAME, "candidate").version) == "2"

    # Back to the first content: the version without an alias gets it again, one with an alias keeps what it has.
    assert _tracking.record_and_register(request_).uri == first.uri
    assert str(client.get_model_version_by_alias(NAME, "candidate").version) == "1"
    client.set_registered_model_alias(NAME, "champion", "2")
    assert _tracking.record_and_register(replace(request_, content_hash="e" * 64)).uri == f"models:/{NAME}@champion"
    assert str(client.get_model_version_by_alias(NAME, "candidate").version) == "1"


@pytest.mark.filterwarnings("error::UserWarning")
def test_without_a_uri_everything_lies_here_and_the_console_stays_clean(
    request_: Request,
    client: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (folder := tmp_path / "a place+more").mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    made = _tracking.record_and_register(request_)
    assert capfd.readouterr() == ("", "")
    assert draw(made.uri, num_inference_steps=1)
    assert sorted(p.name for p in folder.iterdir()) == [".tverase", "mlartifacts", "mlflow.db"]
    assert list((folder / "mlartifacts").rglob("unet/*.safetensors"))
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://127.0.0.1:9", "http://127.0.0.1:9 could not be reached .*Connection refused.*MLFLOW_TRACKING_URI"),
        ("sqlite:////proc/none/mlflow.db", "could not be reached .*can be written"),
        ("nonsense://host", "could not be reached"),
    ],
)
def test_a_store_that_is_not_there_is_one_quick_sentence(
    uri: str, said: str, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    started = time.monotonic()
    with pytest.raises(TrackingError, match=said) as told:
        _tracking.record_and_register(request_)
    assert time.monotonic() - started < 30  # MLflow alone tries for minutes
    assert "\n" not in str(told.value)


class Refusing(http.server.BaseHTTPRequestHandler):
    """A server that lets nobody in."""

    def do_GET(self) -> None:
        body = b'{"error_code": "PERMISSION_DENIED", "message": "Not you."}'
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


def test_a_refusal_names_the_credentials_but_does_not_tell_them(
    request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:hunter22@127.0.0.1:{server.server_port}")
        with pytest.raises(TrackingError, match=r"Not you\); check MLFLOW_TRACKING_USERNAME") as told:
            _tracking.record_and_register(request_)
        server.shutdown()
    assert "hunter22" not in str(told.value)


def test_what_cannot_be_recorded_is_named(request_: Request, client: Any, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"gone\.png is not there"):
        _tracking.record_and_register(replace(request_, figures=[tmp_path / "gone.png"]))
    with pytest.raises(TrackingError, match="look for versions of a/b"):
        _tracking.record_and_register(replace(request_, model_name="a/b"))


def test_a_run_id_and_a_remote_with_a_token_are_not_taken_over(
    first: Registration, request_: Request, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", first.run_id)
    remote = {"mlflow.source.git.repoURL": "https://me:ghp_abc@git.example/r.git"}
    monkeypatch.setattr("mlflow.tracking.context.registry.resolve_tags", lambda tags=None: remote | (tags or {}))
    made = _tracking.record_and_register(replace(request_, content_hash="f" * 64, model_name="tverase-other"))
    assert made.run_id != first.run_id
    assert client.get_run(made.run_id).data.tags["mlflow.source.git.repoURL"] == "https://git.example/r.git"
    model = client.get_logged_model(client.get_model_version("tverase-other", "1").source.removeprefix("models:/"))
    assert model.tags["mlflow.source.git.repoURL"] == "https://git.example/r.git"
