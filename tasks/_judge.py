"""The judge of a run, and the files that it reads."""

from pathlib import Path
from typing import TYPE_CHECKING

from tverase.judges.base import Judge
from tverase.registry import built

from ._job import Job

if TYPE_CHECKING:
    from tverase.config import Params


def judge_files(params: "Params") -> dict[str, Path]:
    """What the judge reads, as inputs of a step."""
    return {f"judge/{name}": path for name, path in built("judge", params.judge_spec).files().items()}


def judge_of(job: Job) -> Judge:
    """The judge that the step's parameters name."""
    judge: Judge = built("judge", job.params.judge).open(job.params.runtime.device)
    return judge
