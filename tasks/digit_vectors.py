"""Five vectors for one digit: three task vectors, one of them repaired, and two methods that depend on the input."""

from tverase.digitrun import make_vectors

from ._digits import base, home, model_folder, out
from ._job import Job
from ._step import Step


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
    home=home,
)

if __name__ == "__main__":
    from ._main import main

    main(STEP)
