"""Fine-tuning on what the model drew, without a caption."""

from typing import Any

import torch
from torch import Tensor

from tverase.files import read_tensors, write_tensors
from tverase.finetune import fine_tune
from tverase.models.base import Model, repeated
from tverase.progress import Progress
from tverase.vectors.copies import copy_name

from ._common import base_model, model_path
from ._job import Job
from ._plugins import model_plugins
from ._step import Step


def run(job: Job) -> None:
    """theta_ft of every fine-tune, each a file of its own; resumes after a stop."""
    images, _ = read_tensors(job.inputs["images"])
    model = base_model(job)
    job.outputs["finetuned"].mkdir()
    if job.params.eraser is not None:
        job.tell(Progress("no fine-tuning: build_vector runs another eraser", 1, 1))
        return
    for name, slugs in learned(job.params).items():
        parts = [images[f"latents/{slug}"] for slug in slugs]
        latents, captions = torch.cat(parts).to(model.device), _captions(job.params, model, slugs, parts)
        settings = job.params.finetune
        for copy in (copy_name(name, number) for number in range(settings.copies)):
            weights, checkpoint = model.weights(), job.scratch / f"{copy}.safetensors"
            training = fine_tune(model, latents, settings, job.params.seed, f"finetune/{copy}", checkpoint, captions)
            for step, (loss, weights) in enumerate(training, 1):  # noqa: B007 - the last weights are theta_ft
                job.tell(Progress(f"fine-tuning on {copy}", step, settings.steps, f"loss {loss:.3f}"))
            write_tensors(weights, job.outputs["finetuned"] / f"{copy}.safetensors")


def _captions(params: Any, model: Model, slugs: list[str], parts: list[Tensor]) -> Tensor | None:
    """The concept's name for each latent, if the parameters ask for it."""
    if not params.finetune.named:
        return None
    names = {concept.slug: concept.names[0] for concept in params.concept_list}
    rows = [repeated(model.encode([names[slug]]), len(part)) for slug, part in zip(slugs, parts, strict=True)]
    return torch.cat(rows)


def learned(params: Any) -> dict[str, list[str]]:
    """Name of a fine-tune to the slugs whose images it learns; a joint one of one concept is that concept's own."""
    slugs = [concept.slug for concept in params.concept_list]
    return {params.name: slugs} if params.finetune.joint else {slug: [slug] for slug in slugs}


STEP = Step(
    name="finetune",
    sections=("seed", "concepts", "eraser", "finetune"),
    inputs=lambda params: {"model": model_path(params), "images": params.out / "images.safetensors"},
    outputs=lambda params: {"finetuned": params.out / "finetuned"},
    run=run,
    plugins=model_plugins,
)

if __name__ == "__main__":
    from ._main import main

    main(STEP)
