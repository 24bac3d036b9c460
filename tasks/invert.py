"""Diverse Inversion: three disjoint sets of embeddings that each still draw the concept."""

from tverase.files import read_tensors, write_json, write_tensors
from tverase.images import to_bytes
from tverase.inversion.run import InversionRun
from tverase.inversion.sets import ROLES, by_bin

from ._common import base_model, judge_paths, jury, model_path
from ._main import main
from ._step import Job, Step


def run(job: Job) -> None:
    """`tune` picks the strength, `validate` accepts it, `report` is only ever used for the final table."""
    params, model, judges = job.params, base_model(job), jury(job)
    images, _ = read_tensors(job.inputs["images"])
    found, pictures = {}, {}
    for concept in params.concept_list:
        latents = images[f"latents/{concept.slug}"].to(model.device)
        search = InversionRun(model, concept, params.invert, judges.of(concept.kind), params.sampling, params.seed)
        for role, inversions in search.run(latents, job.tell).items():
            found[role] = found[role] + inversions if role in found else inversions
        pictures |= {name: to_bytes(drawn) for name, drawn in search.shown.items()}
    folder = job.outputs["inversions"]
    folder.mkdir()
    for role in ROLES:
        found[role].save(folder / f"{role}.safetensors")
    write_tensors(pictures, folder / "pictures.safetensors")
    index = {
        "by_bin": {role: by_bin(found[role].found) for role in ROLES},
        "found": [{"role": role, **vars(item)} for role in ROLES for item in found[role].found],
        "evaluations": job.meter.evaluations,
    }
    write_json(folder / "index.json", index)


STEP = Step(
    name="invert",
    sections=("seed", "concepts", "sampling", "invert"),
    inputs=lambda params: {
        "model": model_path(params),
        "images": params.out / "images.safetensors",
        **judge_paths(params),
    },
    outputs=lambda params: {"inversions": params.out / "inversions"},
    run=run,
    code=(
        "tverase.inversion.diverse", "tverase.inversion.run", "tverase.inversion.sets", "tverase.spaces.cone",
        "tverase.spaces.tokens", "tverase.losses", "tverase.sampling", "tverase.models.text2image",
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(STEP)
