"""Base and fine-tuned weights to a task vector, or whatever another eraser makes of the model."""

import json
from typing import TYPE_CHECKING

from torch import Tensor

from tverase.build import build_vector, forget_samples, retain_samples
from tverase.erasers.base import Eraser, Material
from tverase.files import read_tensors
from tverase.models.base import Model
from tverase.registry import built
from tverase.vector import TaskVector
from tverase.vectors.activations import weighted

from ._common import CONTROL_PROMPTS, base_model, concept_latents, model_path
from ._job import Job
from ._plugins import model_plugins, spec_modules
from ._step import Step

if TYPE_CHECKING:
    from tverase.config import Params


def run(job: Job) -> None:
    """tau, of all concepts together."""
    vector = tau(job) if job.params.eraser is None else erased_by(job, built("eraser", job.params.eraser))
    vector.noting(concept=", ".join(job.params.concepts)).save(job.outputs["vector"])


def tau(job: Job) -> TaskVector:
    """The task vector of the fine-tunes, weighted if the parameters ask for it."""
    params, model = job.params, base_model(job)
    base = {name: weight.cpu() for name, weight in model.weights().items()}  # where files are read to
    finetuned = {path.stem: read_tensors(path)[0] for path in sorted(job.inputs["finetuned"].glob("*.safetensors"))}
    vector = build_vector(base, finetuned)
    if params.build_vector.weighting == "none":
        return vector
    latents, retain = images_of(job, model)
    captions = {c.name: model.encode([*c.names, *c.tuning]) for c in params.concept_list}
    forget = forget_samples(model, [(mine, captions[name]) for name, mine in latents.items()], params.seed)
    kept = retain_samples(model, *retain, params.seed)
    return weighted(model, vector, forget, kept, params.build_vector.retain_weight, params.seed, job.tell)


def erased_by(job: Job, eraser: Eraser) -> TaskVector:
    """The vector of another eraser, from the same images."""
    params, model = job.params, base_model(job)
    latents, retain = images_of(job, model)
    return eraser.run(Material(model, params.concept_list, latents, *retain, params.seed, job.tell))


def images_of(job: Job, model: Model) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor]]:
    """The latents of each concept's images by its name; the retain latents, and the prompts that they were drawn by."""
    images, about = read_tensors(job.inputs["images"])
    retain = images["latents/control"].to(model.device), model.encode(json.loads(about[CONTROL_PROMPTS]))
    return concept_latents(job, images, model), retain


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

if __name__ == "__main__":
    from ._main import main

    main(STEP)
