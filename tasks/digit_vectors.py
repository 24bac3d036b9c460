"""Five vectors for one digit: three task vectors, one of them repaired, and two methods that depend on the input."""

from tverase.digitrun import make_vectors

from ._digits import SHARED, base, home, model_folder, out
from ._main import main
from ._step import Job, Step


def run(job: Job) -> None:
    """Each is a file of its own, so that each can be applied by itself."""
    settings, seed = job.params.digits, job.params.seed
    vectors = make_vectors(base(job), settings.digit, settings.vectors, settings.sampling, seed, job.tell)
    folder = job.outputs["vectors"]
    folder.mkdir()
    for method, vector in vectors.items():
        vector.noting(concept=str(settings.digit), method=method).save(folder / f"{method}.safetensors")


STEP = Step(
    name="digit_vectors",
    sections=("seed", "digits.digit", "digits.sampling", "digits.vectors"),
    inputs=lambda params: {"model": model_folder(params)},
    outputs=lambda params: {"vectors": out(params) / "vectors"},
    run=run,
    code=(
        *SHARED,
        "tverase.digitrun",
        "tverase.digitrepair",
        "tverase.repair",
        "tverase.finetune",
        "tverase.training",
        "tverase.anchor",
        "tverase.dropout",
        "tverase.vectors.agreement",
        "tverase.vectors.copies",
        "tverase.vectors.stacked",
        "tverase.erasers.resteer",
        "tverase.losses",
    ),
    home=home,
)

if __name__ == "__main__":
    main(STEP)
