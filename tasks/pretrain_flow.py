"""The embedded transformer with flow matching, from the sprites and the frozen parts of the embedded model."""

from pathlib import Path

from tverase.models.folder import open_pipeline
from tverase.pretrain.flow import FlowMaker, PretrainFlow
from tverase.world.sprites import load_sprites
from tverase.world.vocabulary import vocabulary

from ._common import DATA, MODEL
from ._job import Job
from ._step import Step

FLOW_MODEL = Path("models/emoji-flow")


def run(job: Job) -> None:
    """About half an hour on one core; it resumes where it stopped. The result is in git."""
    maker = FlowMaker(PretrainFlow(), load_sprites(job.inputs["sprites"]), vocabulary(), job.scratch, tell=job.tell)
    maker.make(open_pipeline(job.inputs["model"]), job.outputs["flow"])


STEP = Step(
    name="pretrain_flow",
    sections=(),
    inputs=lambda _: {"sprites": DATA, "model": MODEL},
    outputs=lambda _: {"flow": FLOW_MODEL},
    run=run,
    shipped=Path("records/pretrain_flow.json"),
)
