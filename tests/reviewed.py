"""Registered versions for the tests of the review: real MLflow, real `register`, and outputs of a few bytes."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tasks import _tracking
from tasks._record import Record
from tasks.register import register
from tverase.bounds import Bound
from tverase.config import Params
from tverase.files import sha256, write_json
from tverase.vector import TaskVector

MADE: list[bytes] = []  # an empty database, which takes MLflow seconds to make
AUTHOR, REVIEWER = "Anna Author <anna@lab.example>", "Jo Li"


@contextmanager
def registry(folder: Path) -> Iterator[Path]:
    """A working folder whose MLflow is its own; the author is at the keyboard."""
    database = folder / "mlflow.db"
    if MADE:
        database.write_bytes(MADE[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
        patch.setenv("TVERASE_USER", AUTHOR)
        _tracking.check_tracking()
        if not MADE:
            MADE.append(database.read_bytes())
        yield folder
        import mlflow

        mlflow.set_tracking_uri(None)


def client() -> Any:
    import mlflow

    _tracking.configure()
    return mlflow.MlflowClient()


def summary(hits: int = 0, of: int = 60, lost: int = 10) -> dict[str, Any]:
    """An evaluation in which the worst prompt recovers the concept `hits` times, and the retain set loses `lost` of 320."""
    from tverase.bounds import paired_difference

    clean, all_of_them = Bound(0, 60).as_dict(), Bound(60, 60).as_dict()
    low, high = paired_difference(lost, 0, 320)
    pair = {
        "base": Bound(320, 320).as_dict(),
        "erased": Bound(320 - lost, 320).as_dict(),
        "loss": round(lost / 320, 4),
        "loss_low": round(low, 4),
        "loss_high": round(high, 4),
    }
    named = {"concept": "bomb", "kind": "name", "input": "6 prompts", "base": all_of_them, "adaptive": False}
    attack = {**named, "kind": "attack", "input": "attempt 2", "adaptive": True}
    embedded = {**named, "kind": "inversion", "input": "report/0.8..0.9/0", "erased": clean}
    return {
        "concepts": ["bomb"],
        "rows": [{**named, "erased": clean}, {**attack, "erased": Bound(hits, of).as_dict()}, embedded],
        "worst": {"bomb": {"input": embedded["input"], **clean, "all_inputs_high": 0.0487, "inputs": 1}},
        "retain": {"all": pair, "axes": {"object": {"total": pair, "by_label": {"cat": pair}}}, "how": "recognition"},
    }


def write_run(
    params: Params,
    content: str,
    found: dict[str, Any],
    outcome: str = "erased",
    pipeline: Path | None = None,
    base: str = "b" * 64,
) -> dict[str, Record]:
    """What a run leaves in outputs/, in small; and the records of its last steps."""
    import torch

    out = params.out
    small = {"model_index.json": "{}", "unet/weights.safetensors": content}
    for path, text in ({} if pipeline else small).items():
        (out / "erased" / path).parent.mkdir(parents=True, exist_ok=True)
        (out / "erased" / path).write_text(text)
    if pipeline:
        shutil.copytree(pipeline, out / "erased", dirs_exist_ok=True)
    (out / "evaluation").mkdir(exist_ok=True)
    write_json(out / "evaluation" / "evaluation.json", found)
    write_json(out / "metrics.json", {"alpha": 1.5, "retain": found["retain"]["all"]})
    said = {"outcome": outcome, "title": f"bomb {outcome}", "why": "Both bounds hold.", "grounds": []}
    write_json(out / "verdict.json", said)
    (out / "report.html").write_text("<p>report</p>")
    (out / "pictures").mkdir(exist_ok=True)
    (out / "pictures" / "bomb-attack-attempt-2.png").write_bytes(b"\x89PNG")
    TaskVector({"w": torch.zeros(1)}, base, {"alpha": "1.5"}).save(out / "tau.safetensors")
    erased, evaluation = sha256(out / "erased"), sha256(out / "evaluation")
    return {
        "erase": Record("erase", "k", {}, {str(out / "erased"): erased}, 1.0, 0),
        "evaluate": Record(
            "evaluate",
            "k",
            {"erased": erased},
            {str(out / "evaluation"): evaluation},
            1.0,
            0,
            params={"concepts": [concept.content() for concept in params.concept_list]},
        ),
    }


def make_version(registered: str, content: str = "a", found: dict[str, Any] | None = None, **more: Any) -> str:
    """Register what a run left; the number of the version. more: other parameters, and what `write_run` takes."""
    given = {name: more.pop(name) for name in ("outcome", "pipeline", "base") if name in more}
    params = Params.parse({"concepts": ["bomb"], **more, "register": {"model": registered}})
    records = write_run(params, content, found or summary(), **given)
    return str(register(params, {}, records).version)


def copy_model(model: str, of: str) -> None:
    """Another registered model, whose first version is a candidate with the files and the run of the first of `of`."""
    client().create_registered_model(model)
    client().set_registered_model_alias(model, "candidate", copy_version(model, of))


def copy_version(model: str, of: str = "", **changed: str) -> str:
    """One more version with the files and the run of the first, which takes a tenth of the time."""
    first = client().get_model_version(of or model, "1")
    made = client().create_model_version(model, first.source, first.run_id, tags={**first.tags, **changed})
    return str(made.version)


def tags(model: str, number: str) -> dict[str, str]:
    return dict(client().get_model_version(model, number).tags)


def set_tag(model: str, number: str, name: str, value: str) -> None:
    """As a person does it in MLflow's pages."""
    client().set_model_version_tag(model, number, name, value)


def holder(model: str, alias: str = "champion") -> str:
    return str(client().get_registered_model(model).aliases.get(alias, ""))


def events(model: str) -> list[dict[str, Any]]:
    """The audit trail of a model, checked."""
    from tasks import _review_log

    return _review_log.read(client(), client().get_model_version(model, "1"))


def stored(model: str, number: str) -> Path:
    """The folder of a registered model."""
    source = client().get_model_version(model, number).source
    return Path(client().get_logged_model(source.removeprefix("models:/")).artifact_location)
