"""Base and fine-tuned weights to a task vector, or the vector of another eraser."""

from typing import TYPE_CHECKING

from tverase.files import read_tensors
from tverase.registry import built
from tverase.steps.images import Images
from tverase.steps.vector import build_vector, erased_by

from ._common import model_path, unjudged
from ._job import Job
from ._plugins import model_plugins, spec_modules
from ._step import Step

if TYPE_CHECKING:
    from tverase.config import Params


def run(job: Job) -> None:
    """tau, of all concepts together."""
    params, context = job.params, unjudged(job)
    images = Images.load(job.inputs["images"]) if "images" in job.inputs else None
    if params.eraser is not None and images is not None:
        vector = erased_by(context, built("eraser", params.eraser), images)
    else:
        files = sorted(job.inputs["finetuned"].glob("*.safetensors"))
        finetuned = {path.stem: read_tensors(path)[0] for path in files}
        vector = build_vector(context, finetuned, images, params.build_vector)
    vector.noting(concept=", ".join(params.concepts)).save(job.outputs["vector"])


def needs_images(params: "Params") -> bool:
    """Whether the vector is made from more than the fine-tuned weights."""
    return params.eraser is not None or params.build_vector.weighting != "none"


STEP = Step(
    name="build_vector",
    sections=("seed", "concepts", "eraser", "build_vector"),
    inputs=lambda params: {
        "model": model_path(params),
        "finetuned": params.out / "finetuned",
        **({"images": params.out / "images.safetensors"} if needs_images(params) else {}),
    },
    outputs=lambda params: {"vector": params.out / "vector.safetensors"},
    run=run,
    plugins=lambda params: (
        *model_plugins(params),
        *(() if params.eraser is None else spec_modules("eraser", params.eraser)),
    ),
)
