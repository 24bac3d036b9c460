"""From fine-tuned weights to the vector that is applied."""

from collections.abc import Mapping
from functools import reduce
from operator import add
from typing import Literal, Self

from pydantic import Field, model_validator

from .settings import Settings
from .vector import StateDict, TaskVector
from .vectors.agreement import agree, mean
from .vectors.control import less_control
from .vectors.copies import by_name
from .vectors.dare import dare
from .vectors.magnitude import magnitude
from .vectors.ties import disjoint_mean, elect

CONTROL = "control"


class BuildVector(Settings):
    """How tau is made: copies are merged, then each concept's vector is pruned, then the concepts are combined.

    TIES as a whole is prune=magnitude, keep=0.2 and combine=ties; DARE before TIES is prune=dare.
    """

    merge: Literal["agree", "ties", "mean"] = "agree"  # how the copies of a fine-tune become one vector
    prune: Literal["none", "magnitude", "dare"] = "none"  # of each concept's vector
    keep: float | None = Field(default=None, gt=0, le=1)  # share of it that pruning leaves
    combine: Literal["sum", "ties"] = "sum"  # of the concepts' vectors
    subtract_control: float = Field(default=0.0, ge=0)  # tau - this much of the vector of unrelated images

    @model_validator(mode="after")
    def _pruning_has_a_share(self) -> Self:
        if self.prune != "none" and self.keep is None:
            raise ValueError(f"prune={self.prune} needs keep, the share that it leaves: build_vector.keep=0.2")
        if self.prune == "none" and self.keep is not None:
            raise ValueError(f"keep={self.keep:g} is for pruning: set build_vector.prune to magnitude or dare")
        return self


MERGES = {"agree": agree, "ties": disjoint_mean, "mean": mean}


def build_vector(
    base: StateDict, finetuned: Mapping[str, StateDict], settings: BuildVector, seed: int = 0
) -> TaskVector:
    """The sum of the concepts' vectors, less the control's share.

    finetuned: slug of a concept, or "control", to theta_ft; copies are numbered (tverase/vectors/copies.py), each loses the
    control of its own number (tverase/vectors/control.py) and then they are merged.
    """
    copies = {name: [TaskVector.between(base, w) for w in many] for name, many in by_name(finetuned).items()}
    copies = less_control(copies, copies.pop(CONTROL, None), settings.subtract_control)
    vectors = {name: pruned(MERGES[settings.merge](many), settings, seed, name) for name, many in copies.items()}
    if settings.combine == "ties":
        vectors = elect(vectors)
    return reduce(add, vectors.values())


def pruned(vector: TaskVector, settings: BuildVector, seed: int, name: str) -> TaskVector:
    """The vector of the concept `name`, made sparse as the settings say."""
    if settings.keep is None:
        return vector
    if settings.prune == "dare":
        return dare(vector, settings.keep, seed, f"build_vector/dare/{name}")
    return magnitude(vector, settings.keep)
