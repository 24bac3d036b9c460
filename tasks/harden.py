"""The vector, hardened: it erases as before and harms less; and the findings of every round."""

from tverase.files import write_json, write_tensors
from tverase.steps.hardening import harden
from tverase.steps.images import Images
from tverase.steps.inversion import load_sets
from tverase.vector import TaskVector

from ._attacks import attack_modules
from ._common import context_of, model_path
from ._job import Job
from ._judge import judge_files
from ._plugins import run_plugins
from ._step import Step


def run(job: Job) -> None:
    """Rounds of distillation and attack; the vector stays as it is if no teacher erases. Resumes after a stop."""
    vector, images = TaskVector.load(job.inputs["vector"]), Images.load(job.inputs["images"])
    tune = load_sets(job.inputs["inversions"], ("tune",))["tune"]
    hardened = harden(context_of(job), vector, images, tune, job.params.harden, job.scratch / "rounds")
    hardened.vector.save(job.outputs["hardened"])
    write_tensors(hardened.findings, job.outputs["findings"])
    write_json(job.outputs["hardening"], {**hardened.as_dict(), "evaluations": job.meter.evaluations})


STEP = Step(
    name="harden",
    sections=("seed", "concepts", "judge", "sampling", "invert", "harden"),
    inputs=lambda params: {
        "model": model_path(params),
        "images": params.out / "images.safetensors",
        "vector": params.out / "selected.safetensors",
        "inversions": params.out / "inversions",
        **judge_files(params),
    },
    outputs=lambda params: {
        "hardened": params.out / "hardened.safetensors",
        "findings": params.out / "findings.safetensors",
        "hardening": params.out / "hardening.json",
    },
    run=run,
    plugins=lambda params: (*run_plugins(params), *attack_modules(params.harden.attacks)),
)
