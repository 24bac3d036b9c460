"""Base and fine-tuned weights to a task vector, or whatever another eraser makes of the model."""

import json

from tverase.build import build_vector
from tverase.erasers.base import Eraser, Material
from tverase.files import read_tensors
from tverase.registry import built
from tverase.vector import TaskVector

from ._common import CONTROL_PROMPTS, base_model, concept_latents, model_path
from ._job import Job
from ._plugins import model_plugins, spec_modules
from ._step import Step


def run(job: Job) -> None:
    """tau, of all concepts together."""
    vector = tau(job) if job.params.eraser is None else erased_by(job, built("eraser", job.params.eraser))
    vector.noting(concept=", ".join(job.params.concepts)).save(job.outputs["vector"])


def tau(job: Job) -> TaskVector:
    """The task vector of the fine-tunes."""
    base = {name: weight.cpu() for name, weight in base_model(job).weights().items()}  # where files are read to
    finetuned = {path.stem: read_tensors(path)[0] for path in sorted(job.inputs["finetuned"].glob("*.safetensors"))}
    return build_vector(base, finetuned, job.params.build_vector, job.params.seed)


def erased_by(job: Job, eraser: Eraser) -> TaskVector:
    """The vector of another eraser, from the same images."""
    params, model = job.params, base_model(job)
    images, about = read_tensors(job.inputs["images"])
    latents = concept_latents(job, images, model)
    retain = images["latents/control"].to(model.device), model.encode(json.loads(about[CONTROL_PROMPTS]))
    return eraser.run(Material(model, params.concept_list, latents, *retain, params.seed, job.tell))


STEP = Step(
    name="build_vector",
    sections=("seed", "concepts", "eraser", "build_vector"),
    inputs=lambda params: {
        "model": model_path(params),
        "finetuned": params.out / "finetuned",
        **({} if params.eraser is None else {"images": params.out / "images.safetensors"}),
    },
    outputs=lambda params: {"vector": params.out / "vector.safetensors"},
    run=run,
    plugins=lambda params: (
        *model_plugins(params),
        *(() if params.eraser is None else spec_modules("eraser", params.eraser)),
    ),
)

if __name__ == "__main__":
    from ._main import main

    main(STEP)
