"""Which weights are edited: the vector, each group of parameters at its own strength."""

from tverase.files import write_json
from tverase.inversion.sets import InversionSet
from tverase.selection.choose import select
from tverase.trial import Inputs, ModelTrial, tuning_prompts
from tverase.vector import TaskVector

from ._common import context_of, model_path
from ._job import Job
from ._judge import judge_files
from ._plugins import run_plugins
from ._step import Step


def run(job: Job) -> None:
    """A task vector again, so that later steps need not know; and how it was found."""
    settings, vector = job.params.select, TaskVector.load(job.inputs["vector"])
    selection = select(vector, settings, lambda: trial_of(job, vector), job.tell)
    selected = selection.scaled(vector)
    if settings.how != "all":  # the default's file is the vector's, byte for byte
        selected = selected.noting(selected=settings.layers or settings.how)
    selected.save(job.outputs["selected"])
    about = {"how": settings.how, "alpha": settings.alpha, "evaluations": job.meter.evaluations}
    write_json(job.outputs["selection"], {**selection.as_dict(), **about})


def trial_of(job: Job, vector: TaskVector) -> ModelTrial:
    """The model on trial by the inputs and the retain prompts that tune."""
    context, tune = context_of(job), InversionSet.load(job.inputs["inversions"] / "tune.safetensors")
    inputs = Inputs.of(context.model, context.concepts, {"tune": tune}, context.invert)
    return ModelTrial(context, vector, inputs, tuning_prompts(context, "select"), "select")


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

if __name__ == "__main__":
    from ._main import main

    main(STEP)
