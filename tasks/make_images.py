"""What the base model draws of the concept, and of everything else."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tverase.concepts import joint
from tverase.concepts.check import check_prompts
from tverase.drawing import draw_concept, learned_images, require_drawn, retain_images
from tverase.files import write_tensors
from tverase.images import to_bytes
from tverase.judges.base import require_labels

from ._common import CONTROL_PROMPTS, base_model, model_path
from ._job import Job
from ._judge import judge_files, judge_of
from ._plugins import run_plugins
from ._step import Step

if TYPE_CHECKING:
    from tverase.config import Params


def run(job: Job) -> None:
    """Latents to fine-tune and to invert on, and a few pictures; refuses a concept that the model does not draw."""
    params, settings, model, judge = job.params, job.params.make_images, base_model(job), judge_of(job)
    check_prompts(model, params.concept_list)
    require_labels(judge, [label for p in joint(params.concept_list) for label in p.labels])
    tensors, rates = {}, {}
    for concept in params.concept_list:
        drawn = draw_concept(model, concept, settings.images, params.seed, params.sampling, job.tell)
        bound = require_drawn(concept, drawn.images, judge, settings.at_least)
        learned = learned_images(model, concept, drawn, params.sampling.batch)
        tensors[f"latents/{concept.slug}"] = learned.latents
        tensors[f"shown/{concept.slug}"] = to_bytes(learned.images[:16])
        rates[concept.slug] = f"{bound.successes}/{bound.trials}"
    how = params.concept_list, settings.controls, params.seed, params.sampling
    prompts, tensors["latents/control"] = retain_images(model, *how)
    write_tensors(tensors, job.outputs["images"], {**rates, CONTROL_PROMPTS: json.dumps(prompts)})


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

if __name__ == "__main__":
    from ._main import main

    main(STEP)
