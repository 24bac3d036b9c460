"""What the base model draws of the concept, and of the retain set."""

from pathlib import Path
from typing import TYPE_CHECKING

from tverase.steps.drawing import make_images

from ._common import context_of, model_path
from ._job import Job
from ._judge import judge_files
from ._plugins import run_plugins
from ._step import Step

if TYPE_CHECKING:
    from tverase.config import Params


def run(job: Job) -> None:
    """Latents to fine-tune and to invert on, and a few pictures; refuses a concept that the model does not draw."""
    make_images(context_of(job), job.params.make_images).save(job.outputs["images"])


def own_pictures(params: "Params") -> dict[str, Path]:
    """The concepts' folders of own images."""
    found = {}
    for concept in params.concept_list:
        found |= {f"{concept.slug}/{name}": folder for name, folder in concept.folders.items()}
    return found


STEP = Step(
    name="make_images",
    sections=("seed", "concepts", "judge", "sampling", "make_images"),
    inputs=lambda params: {"model": model_path(params), **judge_files(params), **own_pictures(params)},
    outputs=lambda params: {"images": params.out / "images.safetensors"},
    run=run,
    plugins=run_plugins,
)
