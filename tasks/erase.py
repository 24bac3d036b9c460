"""The edited pipeline: theta_0 - alpha * tau."""

from tverase.files import read_json
from tverase.models.folder import check_folder, licence, write_edited
from tverase.vector import TaskVector

from ._common import base_model, model_path
from ._main import main
from ._step import Job, Step
from .search_strength import require_alpha


def run(job: Job) -> None:
    """A diffusers folder, unchanged files copied, and tau with all that one has to know to use it."""
    params = job.params
    answer = read_json(job.inputs["strength"])
    chosen = params.erase.alpha
    alpha = chosen if chosen is not None else require_alpha(answer, params.search_strength.when_infeasible)
    vector = TaskVector.load(job.inputs["vector"])
    edited = vector.apply(base_model(job).weights(), alpha)
    write_edited(params.model, edited, job.outputs["erased"])
    check_folder(job.outputs["erased"])
    note = vector.noting(alpha=f"{alpha:g}", licence=licence(params.model), sign="theta = theta_0 - alpha * tau")
    note.save(job.outputs["tau"])


STEP = Step(
    name="erase",
    sections=("concepts", "erase", "search_strength"),
    inputs=lambda params: {
        "model": model_path(params),
        "vector": params.out / "mended.safetensors",
        "strength": params.out / "strength.json",
    },
    outputs=lambda params: {"erased": params.out / "erased", "tau": params.out / "tau.safetensors"},
    run=run,
    code=("tverase.vector", "tverase.models.folder"),
)

if __name__ == "__main__":
    main(STEP)
