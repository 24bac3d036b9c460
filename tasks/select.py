"""Which weights are edited: the vector, each group of parameters at its own strength."""

from tverase.files import write_json
from tverase.steps.inversion import load_sets
from tverase.steps.selection import select_weights
from tverase.vector import TaskVector

from ._common import context_of, model_path, unjudged
from ._job import Job
from ._judge import judge_files
from ._plugins import run_plugins
from ._step import Step


def run(job: Job) -> None:
    """A task vector again, so that later steps need not know; and how it was found."""
    settings, vector = job.params.select, TaskVector.load(job.inputs["vector"])
    searching = "inversions" in job.inputs
    context = context_of(job) if searching else unjudged(job)
    tune = load_sets(job.inputs["inversions"], ("tune",))["tune"] if searching else None
    selected, selection = select_weights(context, vector, tune, settings)
    selected.save(job.outputs["selected"])
    about = {"how": settings.how, "alpha": settings.alpha, "evaluations": job.meter.evaluations}
    write_json(job.outputs["selection"], {**selection.as_dict(), **about})


STEP = Step(
    name="select",
    sections=("seed", "concepts", "judge", "sampling", "invert", "select"),
    inputs=lambda params: {
        "vector": params.out / "vector.safetensors",
        **(
            {}
            if params.select.how in ("all", "blocks")
            else {
                "model": model_path(params),
                "inversions": params.out / "inversions",
                **judge_files(params),
            }
        ),
    },
    outputs=lambda params: {
        "selected": params.out / "selected.safetensors",
        "selection": params.out / "selection.json",
    },
    run=run,
    plugins=run_plugins,
)
