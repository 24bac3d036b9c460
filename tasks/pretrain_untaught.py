"""The embedded model's twin that never learned three objects, from the sprites and the embedded autoencoder."""

from pathlib import Path

from tverase.models.build import Shape
from tverase.models.folder import open_pipeline
from tverase.pretrain.untaught import PretrainUntaught, UntaughtMaker
from tverase.world.sprites import load_sprites
from tverase.world.vocabulary import vocabulary

from ._common import DATA, MODEL
from ._job import Job
from ._step import Step

UNTAUGHT = Path("models/emoji-untaught")


def run(job: Job) -> None:
    """About an hour on one core; it resumes where it stopped. The result is in git."""
    sprites = load_sprites(job.inputs["sprites"])
    maker = UntaughtMaker(PretrainUntaught(), sprites, vocabulary(), job.scratch, Shape(), tell=job.tell)
    maker.make(open_pipeline(job.inputs["model"]), job.outputs["untaught"])


STEP = Step(
    name="pretrain_untaught",
    sections=(),
    inputs=lambda _: {"sprites": DATA, "model": MODEL},
    outputs=lambda _: {"untaught": UNTAUGHT},
    run=run,
    shipped=Path("records/pretrain_untaught.json"),
)
