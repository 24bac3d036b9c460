"""The embedded model and its judges, from the sprites."""

from pathlib import Path

from tverase.models.build import Shape
from tverase.pretrain.emoji import Maker, Pretrain
from tverase.world.sprites import load_sprites
from tverase.world.vocabulary import vocabulary

from ._common import DATA, JUDGES, MODEL
from ._job import Job
from ._step import Step


def run(job: Job) -> None:
    """About two hours on two cores; it resumes where it stopped. The result is in git."""
    words = vocabulary()
    maker = Maker(Pretrain(), Shape(), load_sprites(DATA), words, job.scratch, job.tell)
    maker.make(job.outputs["model"], job.outputs["judges"])


STEP = Step(
    name="pretrain",
    sections=(),
    inputs=lambda _: {"sprites": DATA},
    outputs=lambda _: {"model": MODEL, "judges": JUDGES},
    run=run,
    shipped=Path("records/pretrain.json"),
)
