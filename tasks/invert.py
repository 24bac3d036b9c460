"""Diverse Inversion: three disjoint sets of embeddings that each still draw the concept."""

from tverase.files import write_json, write_tensors
from tverase.inversion.embeddings import write_embeddings
from tverase.judges.base import about
from tverase.steps.images import Images
from tverase.steps.inversion import invert

from ._common import context_of, model_path
from ._job import Job
from ._judge import judge_files
from ._plugins import run_plugins
from ._step import Step


def run(job: Job) -> None:
    """`tune` may change the vector, `validate` accepts a strength, `report` only scores. Resumes after a stop."""
    context, settings, folder = context_of(job), job.params.invert, job.outputs["inversions"]
    found = invert(context, Images.load(job.inputs["images"]), job.scratch)
    folder.mkdir()
    for role, inversions in found.sets.items():
        inversions.save(folder / f"{role}.safetensors")
    write_tensors(found.pictures, folder / "pictures.safetensors")
    # A state of the encoder is no word that another program could load.
    written = write_embeddings(found.sets, settings.tokens, folder) if settings.space == "tokens" else {}
    write_json(folder / "index.json", {**found.index(context, written), "judge": about(context.judge)})


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
