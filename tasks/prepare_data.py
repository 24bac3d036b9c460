"""The sprite sheets of the embedded world, from the pinned npm packages."""

from pathlib import Path

from tverase.progress import Progress
from tverase.world.sprites import build_sprites
from tverase.world.vocabulary import vocabulary

from ._common import DATA
from ._job import Job
from ._step import Step


def run(job: Job) -> None:
    """Fetch, check by sha256, rasterise. The result is in git, so this runs only after a change of the vocabulary."""
    job.tell(Progress("rasterising the emoji", 0, 1))
    folder = job.outputs["sprites"]
    folder.mkdir()
    build_sprites(vocabulary(), Path("work/npm"), folder)


STEP = Step(
    name="prepare_data",
    sections=(),
    inputs=lambda _: {"vocabulary": Path("tverase/world/vocabulary.yaml")},
    outputs=lambda _: {"sprites": DATA},
    run=run,
    shipped=Path("records/prepare_data.json"),
)
