"""What the steps of the digit experiment share: paths, the model, its judge."""

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from tverase.judges.cnn import CnnJudge
from tverase.models.base import repeated
from tverase.models.digits import Digits
from tverase.rng import generator
from tverase.sampling import draw_latents

from ._job import Job

if TYPE_CHECKING:
    from tverase.config import Params

JUDGE = "judge.safetensors"


def home(params: "Params") -> str:
    """The run's name: the digit decides, not the concepts of the main job."""
    return f"digit-{params.digits.digit}"


def out(params: "Params") -> Path:
    """Where everything about this digit is written."""
    return Path("outputs") / home(params)


def model_folder(params: "Params") -> Path:
    """The digit model, with its judge."""
    return Path(params.digits.model)


def base(job: Job) -> Digits:
    """The base model, counting on the job's meter."""
    return Digits.load(job.inputs["model"]).metered(job.meter)


def own_latents(job: Job, model: Digits, purpose: str) -> Tensor:
    """Latents of the digit as the model draws it from its own code, with noise for this purpose alone."""
    settings = job.params.digits
    own = repeated(model.encode([str(settings.digit)]), settings.vectors.images)
    return draw_latents(model, own, generator(job.params.seed, purpose), settings.sampling)


def judge(job: Job) -> CnnJudge:
    """The judge of digits."""
    return CnnJudge.load(job.inputs["model"] / JUDGE)
