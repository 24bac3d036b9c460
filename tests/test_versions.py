"""What people decided about a version outlives every run, and damaged files are noticed and sent again."""

import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks import _tracking
from tasks._tracking import Registration, Request

NAME = "tverase-bomb"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a store; MLflow is pointed at it."""
    folder = tmp_path_factory.mktemp("versions")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        _tracking.check_tracking()
        yield folder
        import mlflow

        mlflow.set_tracking_uri(None)


@pytest.fixture
def client(place: Path) -> Any:
    import mlflow

    _tracking.configure()
    return mlflow.MlflowClient()


def asked(folder: Path, content: str, name: str = NAME, **more: Any) -> Request:
    """A request whose pipeline is a few bytes: nobody opens it here."""
    pipeline = folder / "erased"
    (pipeline / "unet").mkdir(parents=True, exist_ok=True)
    (pipeline / "model_index.json").write_text("{}")
    (pipeline / "unet" / "weights.safetensors").write_bytes(b"weights" * 100)
    given = {"tags": {"verdict": "erased"}, "alias": "candidate", **more}
    return Request("tverase", "erase-bomb", content * 64, model_name=name, pipeline=pipeline, **given)


def holder(client: Any, name: str = NAME, alias: str = "candidate") -> str | None:
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_model_version_by_alias(name, alias).version)
    except MlflowException:
        return None


@pytest.mark.parametrize("status", ["rejected", "approved"])
def test_a_review_outlives_the_next_run(status: str, place: Path, client: Any) -> None:
    request = asked(place, "a", f"{NAME}-{status}")
    made = _tracking.record_and_register(request)
    client.set_model_version_tag(request.model_name, str(made.version), "review_status", status)
    client.delete_registered_model_alias(request.model_name, "candidate")
    again = _tracking.record_and_register(request)
    assert (again.version, again.created, again.uri) == (1, False, f"models:/{request.model_name}/1")
    assert holder(client, request.model_name) is None


def test_an_alias_that_a_person_took_away_stays_away(place: Path, client: Any) -> None:
    name = f"{NAME}-taken"
    _tracking.record_and_register(asked(place, "a", name))
    client.delete_registered_model_alias(name, "candidate")
    assert _tracking.record_and_register(asked(place, "a", name)).uri == f"models:/{name}/1"
    # Not even when another version had it meanwhile. One that lost it to a run gets it back.
    _tracking.record_and_register(asked(place, "b", name))
    _tracking.record_and_register(asked(place, "a", name))
    assert holder(client, name) == "2"
    _tracking.record_and_register(asked(place, "c", name))
    assert holder(client, name) == "3"
    _tracking.record_and_register(asked(place, "b", name))
    assert holder(client, name) == "2"
    client.set_model_version_tag(name, "3", "review_status", "rejected")
    _tracking.record_and_register(asked(place, "c", name))
    assert holder(client, name) == "2"


def test_what_is_not_proved_gets_no_alias(place: Path, client: Any) -> None:
    name = f"{NAME}-refuted"
    refuted = asked(place, "a", name, alias="", tags={"verdict": "refuted"})
    for created in (True, False):
        made = _tracking.record_and_register(refuted)
        assert (made.uri, made.created) == (f"models:/{name}/1", created)
    version = client.get_model_version(name, "1")
    assert (version.aliases, version.tags["verdict"]) == ([], "refuted")
    # The same weights and images, held to another bound: another claim, and a version of its own.
    proved = _tracking.record_and_register(asked(place, "a", name))
    assert (proved.version, proved.created, holder(client, name)) == (2, True, "2")
    _tracking.record_and_register(refuted)
    assert holder(client, name) == "2"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def stored(client: Any, name: str, version: int) -> Path:
    source = client.get_model_version(name, str(version)).source
    return Path(client.get_logged_model(source.removeprefix("models:/")).artifact_location)


@pytest.mark.parametrize("damage", ["weights", "code", "missing", "more", "all"])
def test_damaged_files_are_sent_again(damage: str, place: Path, client: Any) -> None:
    name = f"{NAME}-{damage}"
    request = asked(place, "a", name)
    _tracking.record_and_register(request)
    client.set_registered_model_alias(name, "champion", "1")
    client.set_model_version_tag(name, "1", "review_status", "approved")
    client.set_model_version_tag(name, "1", "reviewer", "jo")
    client.delete_registered_model_alias(name, "candidate")
    folder = stored(client, name, 1)
    weights = folder / "artifacts" / "erased" / "unet" / "weights.safetensors"
    if damage == "all":
        shutil.rmtree(folder)
    elif damage == "missing":
        weights.unlink()
    elif damage == "more":
        weights.with_name("unet_ema.safetensors").touch()
    else:
        flip(weights if damage == "weights" else folder / "_pyfunc.py")
    again = _tracking.record_and_register(request)
    assert (again.version, again.created) == (2, True)
    assert (stored(client, name, 2) / "artifacts/erased/unet/weights.safetensors").read_bytes() == b"weights" * 100
    # It is what the damaged one was: reviewed, and under its alias, and under no other.
    version = client.get_model_version(name, "2")
    assert (version.tags["review_status"], version.tags["reviewer"]) == ("approved", "jo")
    assert (holder(client, name, "champion"), holder(client, name)) == ("2", None)
    assert "2" in client.get_model_version(name, "1").tags["damaged"]
    assert _tracking.record_and_register(request) == replace(again, created=False)


def test_a_rejected_version_is_not_sent_again(place: Path, client: Any) -> None:
    name = f"{NAME}-gone"
    _tracking.record_and_register(asked(place, "a", name))
    client.set_model_version_tag(name, "1", "review_status", "rejected")
    shutil.rmtree(stored(client, name, 1))
    assert _tracking.record_and_register(asked(place, "a", name)).version == 1


def _register(folder: str, start: Any, answers: Any) -> None:
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    request = asked(Path(folder), "a")
    start.wait()
    made: Registration = _tracking.record_and_register(request)
    answers.put((made.version, made.created))


def test_two_registrations_at_once_are_one_version(tmp_path: Path) -> None:
    """Of two processes, on a database that is not there yet."""
    asked(tmp_path, "a")
    many = multiprocessing.get_context("spawn")
    start, answers = many.Barrier(2), many.Queue()
    both = [many.Process(target=_register, args=(str(tmp_path), start, answers)) for _ in range(2)]
    for each in both:
        each.start()
    found = sorted(answers.get(timeout=180) for _ in both)
    for each in both:
        each.join(60)
    assert [each.exitcode for each in both] == [0, 0]
    assert found == [(1, False), (1, True)]


def test_a_registration_that_was_killed_before_its_alias_is_completed(place: Path, client: Any) -> None:
    name = f"{NAME}-killed"
    request = asked(place, "a", name)
    program = (
        "import os, mlflow, tests.test_versions as t; from pathlib import Path; from tasks import _tracking, _versions\n"
        "_versions._give = lambda *_: os._exit(9)\n"
        f"_tracking.record_and_register(t.asked(Path({str(place)!r}), 'a', {name!r}))"
    )
    root = Path(__file__).parents[1]
    died = subprocess.run([sys.executable, "-c", program], cwd=root, check=False)
    assert died.returncode == 9
    assert holder(client, name) is None
    assert _tracking.record_and_register(request).uri == f"models:/{name}@candidate"
