"""What the base model draws of the concept, and of everything else."""

import json

from tverase.concepts import control_halves, spread
from tverase.drawing import draw_concept, require_drawn
from tverase.files import write_tensors
from tverase.images import to_bytes
from tverase.rng import generator
from tverase.sampling import draw_latents
from tverase.world.vocabulary import vocabulary

from ._common import base_model, judge_paths, jury, model_path
from ._main import main
from ._step import Job, Step

CONTROL_PROMPTS = "control prompts"  # in the file's metadata: row i of latents/control was drawn by prompt i


def run(job: Job) -> None:
    """Latents to fine-tune and to invert on, and a few pictures; refuses a concept that the model does not draw."""
    params, settings, model, judges = job.params, job.params.make_images, base_model(job), jury(job)
    tensors, rates = {}, {}
    for concept in params.concept_list:
        drawn = draw_concept(model, concept, settings.images, params.seed, params.sampling, job.tell)
        bound = require_drawn(concept, drawn.images, judges.of(concept.kind), settings.at_least)
        tensors[f"latents/{concept.slug}"] = drawn.latents
        tensors[f"shown/{concept.slug}"] = to_bytes(drawn.images[:16])
        rates[concept.slug] = f"{bound.successes}/{bound.trials}"
    rng = generator(params.seed, "make_images/control")
    tuning, _ = control_halves(params.concept_list, vocabulary())
    prompts = [prompt.text for prompt in spread(tuning, settings.controls, rng)]
    tensors["latents/control"] = draw_latents(model, model.encode(prompts), rng, params.sampling)
    write_tensors(tensors, job.outputs["images"], {**rates, CONTROL_PROMPTS: json.dumps(prompts)})


STEP = Step(
    name="make_images",
    sections=("seed", "concepts", "sampling", "make_images"),
    inputs=lambda params: {"model": model_path(params), **judge_paths(params)},
    outputs=lambda params: {"images": params.out / "images.safetensors"},
    run=run,
    code=("tverase.concepts", "tverase.drawing", "tverase.sampling", "tverase.models.text2image"),
)

if __name__ == "__main__":
    main(STEP)
