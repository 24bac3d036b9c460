"""What several steps open: the model, the judges, the paths of one run."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from tverase.config import Params
from tverase.judges.cnn import CnnJudge
from tverase.models.folder import locate, open_model
from tverase.models.text2image import TextToImage
from tverase.trial import Jury

from ._step import Job
from .pretrain import MODEL


def model_is_given(params: Params) -> bool:
    """Whether the base model is somebody else's, which we can open but not make."""
    return Path(params.model) != MODEL


def model_path(params: Params) -> Path:
    """The folder of the base model, fetched first if it is a hub id. Ours is never on a hub, whatever its path looks like."""
    return locate(params.model) if model_is_given(params) else MODEL


def judge_paths(params: Params) -> dict[str, Path]:
    """The judges' files as inputs of a step."""
    return {f"judge/{kind}": Path(params.judges) / f"{kind}.safetensors" for kind in ("object", "style")}


def base_model(job: Job) -> TextToImage:
    """The base model on the device of the parameters; it counts on the job's meter."""
    return open_model(job.params.model, job.params.runtime.device).metered(job.meter)


def concept_latents(job: Job, images: Mapping[str, Tensor], model: TextToImage) -> dict[str, Tensor]:
    """Latents (N, ...) of each concept's images, by its name, of what make_images has written."""
    return {c.name: images[f"latents/{c.slug}"].to(model.device) for c in job.params.concept_list}


def jury(job: Job) -> Jury:
    """Both judges."""
    return Jury(*(CnnJudge.load(path) for path in judge_paths(job.params).values()))
