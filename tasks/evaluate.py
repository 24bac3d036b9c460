"""Base and erased model side by side, on inputs and noise that tuned nothing."""

from tverase.files import write_json, write_tensors
from tverase.models.folder import open_model
from tverase.steps.evaluation import evaluate, plain
from tverase.steps.inversion import load_sets
from tverase.vector import TaskVector

from ._attacks import attack_modules
from ._common import context_of, model_path
from ._job import Job
from ._judge import judge_files
from ._plugins import run_plugins
from ._step import Step


def run(job: Job) -> None:
    """Recovery by input kind, held-out embeddings, attacks, and the retain set."""
    context, folder = context_of(job), job.outputs["evaluation"]
    erased = open_model(job.inputs["erased"], job.params.runtime.device).metered(job.meter)
    report = load_sets(job.inputs["inversions"], ("report",))["report"]
    found = evaluate(context, erased, report, job.params.evaluate)
    folder.mkdir()
    write_tensors(found.pictures, folder / "pictures.safetensors")
    write_json(folder / "evaluation.json", found.summary)
    alpha = float(TaskVector.load(job.inputs["tau"]).about["alpha"])
    write_json(job.outputs["metrics"], found.metrics(alpha))


STEP = Step(
    name="evaluate",
    sections=("seed", "concepts", "judge", "sampling", "invert", "evaluate"),
    inputs=lambda params: {
        "model": model_path(params),
        "erased": params.out / "erased",
        "tau": params.out / "tau.safetensors",
        "inversions": params.out / "inversions",
        **judge_files(params),
    },
    outputs=lambda params: {"evaluation": params.out / "evaluation", "metrics": params.out / "metrics.json"},
    run=run,
    plugins=lambda params: (*run_plugins(params), *attack_modules(plain(params.evaluate.attacks).values())),
)
