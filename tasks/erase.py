"""The edited pipeline: theta_0 - alpha * tau."""

from tverase.files import read_json
from tverase.progress import Progress
from tverase.steps.erased import require_alpha, write_erased
from tverase.vector import TaskVector

from ._common import base_model, model_path
from ._job import Job
from ._plugins import model_plugins
from ._step import Step


def run(job: Job) -> None:
    """A diffusers folder with its card, and tau with everything that its users must know."""
    params, answer = job.params, read_json(job.inputs["strength"])
    given = params.erase.alpha
    alpha = given if given is not None else require_alpha(answer, params.choose_strength)
    vector, weights = TaskVector.load(job.inputs["vector"]), base_model(job).weights()
    places = job.outputs["erased"], job.outputs["tau"]
    left_out = write_erased(params.model, weights, vector, alpha, params.concept_list, *places)
    job.tell(Progress("files left out of the erased folder", len(left_out), len(left_out), ", ".join(left_out[:5])))


STEP = Step(
    name="erase",
    sections=("concepts", "erase", "choose_strength"),
    inputs=lambda params: {
        "model": model_path(params),
        "vector": params.out / "hardened.safetensors",
        "strength": params.out / "strength.json",
    },
    outputs=lambda params: {"erased": params.out / "erased", "tau": params.out / "tau.safetensors"},
    run=run,
    plugins=model_plugins,
)
