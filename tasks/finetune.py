"""Fine-tuning on the images that the model drew, without a caption."""

from tverase.files import write_tensors
from tverase.progress import Progress
from tverase.steps.finetuning import fine_tunes
from tverase.steps.images import Images

from ._common import model_path, unjudged
from ._job import Job
from ._plugins import model_plugins
from ._step import Step


def run(job: Job) -> None:
    """theta_ft of every fine-tune, each a file of its own; resumes after a stop."""
    folder = job.outputs["finetuned"]
    folder.mkdir()
    if job.params.eraser is not None:
        job.tell(Progress("no fine-tuning: build_vector runs another eraser", 1, 1))
        return
    images = Images.load(job.inputs["images"])
    for name, weights in fine_tunes(unjudged(job), images, job.params.finetune, job.scratch):
        write_tensors(weights, folder / f"{name}.safetensors")


STEP = Step(
    name="finetune",
    sections=("seed", "concepts", "eraser", "finetune"),
    inputs=lambda params: {"model": model_path(params), "images": params.out / "images.safetensors"},
    outputs=lambda params: {"finetuned": params.out / "finetuned"},
    run=run,
    plugins=model_plugins,
)
