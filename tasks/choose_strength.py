"""The smallest strength at which every input fails, while the retain set survives."""

from tverase.files import read_json, write_json, write_text
from tverase.judges.base import about
from tverase.steps.images import Images
from tverase.steps.inversion import load_sets
from tverase.steps.strength import choose_strength
from tverase.strength.choose import as_csv
from tverase.vector import TaskVector

from ._attacks import attack_modules
from ._common import context_of, model_path
from ._job import Job
from ._judge import judge_files
from ._plugins import run_plugins
from ._step import Step


def run(job: Job) -> None:
    """Explore on `tune`, confirm on `validate` and on fresh attacks; then the curve, for people. Resumes after a stop."""
    context, sets = context_of(job), load_sets(job.inputs["inversions"], ("tune", "validate"))
    teacher = read_json(job.inputs["hardening"])["teacher"]
    choice = choose_strength(
        context,
        TaskVector.load(job.inputs["vector"]),
        Images.load(job.inputs["images"]),
        sets["tune"],
        sets["validate"],
        job.params.choose_strength,
        teacher,
        job.scratch / "strengths",
    )
    judged = {"judge": about(context.judge), "evaluations": job.meter.evaluations}
    write_json(job.outputs["strength"], {**choice.as_dict(), **judged})
    write_text(job.outputs["curve"], as_csv(choice.frontier))


STEP = Step(
    name="choose_strength",
    sections=("seed", "concepts", "judge", "sampling", "invert", "choose_strength"),
    inputs=lambda params: {
        "model": model_path(params),
        "images": params.out / "images.safetensors",
        "vector": params.out / "hardened.safetensors",
        "hardening": params.out / "hardening.json",
        "inversions": params.out / "inversions",
        **judge_files(params),
    },
    outputs=lambda params: {"strength": params.out / "strength.json", "curve": params.out / "curve.csv"},
    run=run,
    plugins=lambda params: (*run_plugins(params), *attack_modules(params.choose_strength.attacks)),
)
