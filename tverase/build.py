"""From fine-tuned weights to the vector that is applied."""

from collections.abc import Mapping
from functools import reduce
from operator import add

from pydantic import Field

from .errors import ConfigError
from .settings import Settings
from .vector import StateDict, TaskVector

CONTROL = "control"


class BuildVector(Settings):
    """How tau is made."""

    subtract_control: float = Field(default=0.0, ge=0)  # tau - this much of the vector of unrelated images


def build_vector(base: StateDict, finetuned: Mapping[str, StateDict], settings: BuildVector) -> TaskVector:
    """The sum of the concepts' vectors, less the control's share.

    finetuned: slug of a concept, or "control", to theta_ft. Fine-tuning on self-drawn images also learns their guided
    look; the vector of unrelated self-drawn images has that look and not the concept.
    """
    vectors = {name: TaskVector.between(base, weights) for name, weights in finetuned.items()}
    control = vectors.pop(CONTROL, None)
    if settings.subtract_control:
        if control is None:
            raise ConfigError(
                "build_vector.subtract_control needs the control's fine-tuning: set finetune.control=true."
            )
        vectors = {name: vector - settings.subtract_control * control for name, vector in vectors.items()}
    return reduce(add, vectors.values())
