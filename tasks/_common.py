"""What several steps open: the model, and what the library's functions share."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

from tverase.context import Context
from tverase.inversion.diverse import Invert
from tverase.judges.base import Judge
from tverase.models.base import Model
from tverase.models.folder import locate, open_model
from tverase.sampling import Sampling

from ._job import Job
from ._judge import judge_of

if TYPE_CHECKING:
    from tverase.config import Params

DATA = Path("data/emoji")
MODEL, JUDGES = Path("models/emoji-sd"), Path("models/judges")  # the embedded model and its judges, shipped in git
DIGITS = Path("models/digits")  # so is the digit model, with its judge


def model_is_given(params: "Params") -> bool:
    """Whether the base model is somebody else's, which we can open but not make."""
    return Path(params.model) not in (MODEL, DIGITS)


def model_path(params: "Params") -> Path:
    """The folder of the base model, fetched first if it is a hub id. Ours are never on a hub, whatever their paths look like."""
    return locate(params.model) if model_is_given(params) else Path(params.model)


def base_model(job: Job) -> Model:
    """The base model on the device of the parameters; it counts on the job's meter."""
    return open_model(job.params.model, job.params.runtime.device).metered(job.meter)


def context_of(job: Job) -> Context:
    """What the library's functions share: the model, the concepts, the judge and how images are drawn."""
    params = job.params
    return Context(
        base_model(job),
        tuple(params.concept_list),
        judge_of(job),
        params.sampling,
        getattr(params, "invert", Invert()),  # a step that searches no embeddings declares none
        params.seed,
        job.tell,
    )


def unjudged(job: Job) -> Context:
    """The same for a step that draws nothing, so that its key knows no judge and no sampling."""
    params, concepts = job.params, tuple(job.params.concept_list)
    return Context(base_model(job), concepts, cast(Judge, None), Sampling(), Invert(), params.seed, job.tell)
