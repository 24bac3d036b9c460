"""A step that copies a file, for the tests of the engine: STEP, and the folder that it works in."""

from pathlib import Path

import pytest

from tasks._job import Job
from tasks._step import Step
from tverase.config import Params

CODE = "def version():\n    return 1\n"


def write(job: Job) -> None:
    """Copy the input, with a parameter behind it."""
    text = job.inputs["given"].read_text() + str(job.params.finetune.steps)
    job.outputs["made"].write_text(text)
    job.outputs["folder"].mkdir()
    (job.outputs["folder"] / "part").write_text(text)


STEP = Step(
    name="toy",
    sections=("finetune",),
    inputs=lambda _: {"given": Path("given.txt")},
    outputs=lambda params: {"made": params.out / "made.txt", "folder": params.out / "folder"},
    run=write,
    plugins=lambda _: ("toy_code",),
)


PARAMS = Params.parse({"finetune": {"steps": 5}})


def prepare(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make it an empty working folder with an input and with the module that is the step's code."""
    (folder / "given.txt").write_text("a")
    (folder / "toy_code.py").write_text(CODE)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    return folder
