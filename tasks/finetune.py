"""Fine-tuning on what the model drew, with the empty caption."""

from tverase.files import read_tensors, write_tensors
from tverase.finetune import fine_tune
from tverase.progress import Progress

from ._common import base_model, model_path
from ._main import main
from ._step import Job, Step


def run(job: Job) -> None:
    """theta_ft for each concept, and for unrelated images if `finetune.control` asks for it; resumes after a stop."""
    settings = job.params.finetune
    images, _ = read_tensors(job.inputs["images"])
    names = [concept.slug for concept in job.params.concept_list] + ["control"] * settings.control
    model = base_model(job)
    job.outputs["finetuned"].mkdir()
    for name in names:
        latents = images[f"latents/{name}"].to(model.device)
        weights, checkpoint = model.weights(), job.scratch / f"{name}.safetensors"
        training = fine_tune(model, latents, settings, job.params.seed, f"finetune/{name}", checkpoint)
        for step, (loss, weights) in enumerate(training, 1):  # noqa: B007 - the last weights are theta_ft
            job.tell(Progress(f"fine-tuning on {name}", step, settings.steps, f"loss {loss:.3f}"))
        write_tensors(weights, job.outputs["finetuned"] / f"{name}.safetensors")


STEP = Step(
    name="finetune",
    sections=("seed", "concepts", "finetune"),
    inputs=lambda params: {"model": model_path(params), "images": params.out / "images.safetensors"},
    outputs=lambda params: {"finetuned": params.out / "finetuned"},
    run=run,
    code=("tverase.finetune", "tverase.training", "tverase.losses", "tverase.models.text2image"),
)

if __name__ == "__main__":
    main(STEP)
