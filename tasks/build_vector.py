"""Base and fine-tuned weights to a task vector."""

from tverase.build import build_vector
from tverase.files import read_tensors

from ._common import base_model, model_path
from ._job import Job
from ._plugins import model_plugins
from ._step import Step


def run(job: Job) -> None:
    """tau, of all concepts together."""
    base = {name: weight.cpu() for name, weight in base_model(job).weights().items()}  # where files are read to
    finetuned = {path.stem: read_tensors(path)[0] for path in sorted(job.inputs["finetuned"].glob("*.safetensors"))}
    vector = build_vector(base, finetuned, job.params.build_vector, job.params.seed)
    vector.noting(concept=", ".join(job.params.concepts)).save(job.outputs["vector"])


STEP = Step(
    name="build_vector",
    sections=("seed", "concepts", "build_vector"),
    inputs=lambda params: {"model": model_path(params), "finetuned": params.out / "finetuned"},
    outputs=lambda params: {"vector": params.out / "vector.safetensors"},
    run=run,
    plugins=model_plugins,
)

if __name__ == "__main__":
    from ._main import main

    main(STEP)
