"""The concept's names, drawn once each by the erased model; a step of its own."""

from tasks._job import Job
from tasks._plugins import model_plugins
from tasks._step import Step
from tverase.files import write_tensors
from tverase.images import to_bytes
from tverase.models.folder import open_model
from tverase.rng import generator
from tverase.sampling import draw


def run(job: Job) -> None:
    """Read the inputs, call the library once, write the outputs."""
    params = job.params
    erased = open_model(job.inputs["erased"], params.runtime.device).metered(job.meter)
    names = [name for concept in params.concept_list for name in concept.names]
    images = draw(erased, erased.encode(names), generator(params.seed, "sheet"), params.sampling)
    write_tensors({"images": to_bytes(images)}, job.outputs["sheet"])


STEP = Step(
    name="sheet",
    sections=("seed", "concepts", "sampling"),  # the parameters that `run` reads; any other is an error
    inputs=lambda params: {"erased": params.out / "erased"},
    outputs=lambda params: {"sheet": params.out / "sheet.safetensors"},
    run=run,
    plugins=model_plugins,  # the model family's source belongs to the key
)
