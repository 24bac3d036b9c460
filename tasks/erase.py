"""The edited pipeline: theta_0 - alpha * tau."""

from tverase.errors import Infeasible
from tverase.files import read_json, sha256
from tverase.models.card import ErasedCard
from tverase.models.folder import check_folder, licence, write_edited
from tverase.progress import Progress
from tverase.vector import TaskVector

from ._common import base_model, model_path
from ._job import Job
from ._plugins import model_plugins
from ._step import Step


def run(job: Job) -> None:
    """A diffusers folder with its card, and tau with all that one has to know to use it."""
    params = job.params
    answer = read_json(job.inputs["strength"])
    chosen = params.erase.alpha
    alpha = chosen if chosen is not None else require_alpha(answer, params.choose_strength.when_infeasible)
    vector = TaskVector.load(job.inputs["vector"])
    edited = vector.apply(base_model(job).weights(), alpha)
    erased, terms = job.outputs["erased"], licence(params.model)
    left_out = write_edited(params.model, edited, erased)
    job.tell(Progress("files left out of the erased folder", len(left_out), len(left_out), ", ".join(left_out[:5])))
    check_folder(erased)
    note = vector.noting(alpha=f"{alpha:g}", licence=terms, sign="theta = theta_0 - alpha * tau")
    note.save(job.outputs["tau"])
    concepts, tau = [concept.name for concept in params.concept_list], sha256(job.outputs["tau"])
    ErasedCard(concepts, alpha, params.model, vector.base, tau, terms, left_out).write(erased)


def require_alpha(answer: dict[str, object], when: str) -> float:
    """The strength to use; `Infeasible` if there is none and the parameters do not ask for the safest one."""
    if answer["alpha"] is not None:
        return float(str(answer["alpha"]))
    if when == "safest" and answer["smallest"] is not None:
        return float(str(answer["smallest"]))
    raise Infeasible(
        f"no strength meets both bounds: {answer['reason']}. The frontier is in strength.json; allow more loss "
        "(choose_strength.delta), ask for less (choose_strength.epsilon), or set "
        "choose_strength.when_infeasible=safest to go on with the smallest strength that erases."
    )


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

if __name__ == "__main__":
    from ._main import main

    main(STEP)
