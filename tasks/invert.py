"""Diverse Inversion: three disjoint sets of embeddings that each still draw the concept."""

from collections.abc import Mapping
from typing import Any

from tverase.files import read_tensors, write_json, write_tensors
from tverase.images import to_bytes
from tverase.inversion.embeddings import write_embeddings
from tverase.inversion.run import InversionRun, template_of
from tverase.inversion.sets import ROLES, InversionSet, by_bin, per_accepted
from tverase.judges.base import about

from ._common import base_model, model_path
from ._job import Job
from ._judge import judge_files, judge_of
from ._plugins import run_plugins
from ._step import Step


def run(job: Job) -> None:
    """`tune` picks the strength, `validate` accepts it, `report` is only ever used for the final table. Resumes after a stop."""
    params, model, judge = job.params, base_model(job), judge_of(job)
    images, _ = read_tensors(job.inputs["images"])
    found, pictures, costs = {}, {}, {}
    for concept in params.concept_list:
        latents = images[f"latents/{concept.slug}"].to(model.device)
        search = InversionRun(model, concept, params.invert, judge, params.sampling, params.seed)
        for role, inversions in search.run(latents, job.tell, job.scratch / f"{concept.slug}.safetensors").items():
            found[role] = found[role] + inversions if role in found else inversions
        pictures |= {name: to_bytes(drawn) for name, drawn in search.shown.items()}
        costs[concept.name] = search.cost
    folder = job.outputs["inversions"]
    folder.mkdir()
    for role in ROLES:
        found[role].save(folder / f"{role}.safetensors")
    write_tensors(pictures, folder / "pictures.safetensors")
    write_json(folder / "index.json", {**index(job, found, costs), "judge": about(judge)})


def index(job: Job, found: Mapping[str, InversionSet], costs: Mapping[str, int]) -> dict[str, Any]:
    """What was tried, found and spent; writes the embeddings that other programs load. found: by role; costs: by concept."""
    settings, written = job.params.invert, dict[str, dict[str, str]]()
    if settings.space == "tokens":  # states are no word that a pipeline could learn
        written = write_embeddings(found, settings.tokens, job.outputs["inversions"])
    everything = [(role, item) for role in ROLES for item in found[role].found]
    return {
        "space": settings.space,
        "tokens": settings.tokens,
        "templates": {concept.name: template_of(concept, settings) for concept in job.params.concept_list},
        "by_bin": {role: by_bin(found[role].found) for role in ROLES},
        "found": [{"role": role, **vars(item), **written.get(item.name, {})} for role, item in everything],
        "evaluations": job.meter.evaluations,
        "evaluations_per_accepted": {
            name: per_accepted(cost, [item for _, item in everything if item.concept == name])
            for name, cost in costs.items()
        },
    }


STEP = Step(
    name="invert",
    sections=("seed", "concepts", "judge", "sampling", "invert"),
    inputs=lambda params: {
        "model": model_path(params),
        "images": params.out / "images.safetensors",
        **judge_files(params),
    },
    outputs=lambda params: {"inversions": params.out / "inversions"},
    run=run,
    plugins=run_plugins,
)

if __name__ == "__main__":
    from ._main import main

    main(STEP)
