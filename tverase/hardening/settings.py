"""How the vector is hardened."""

from typing import Any, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ..settings import Settings


class Harden(Settings):
    """Rounds of distillation and attack, until whole rounds find nothing."""

    max_rounds: NonNegativeInt = 12  # 0: the vector stays as it is
    clean_rounds: PositiveInt = 2  # in a row that end it: one may be luck
    steps: PositiveInt = 50  # of distillation in a round, for each concept
    # Rounds without an attack before the first one: attacks on a student that has only begun say little, and cost as much
    # as the distillation.
    warm_up: NonNegativeInt = 2
    # Strength of the edit that teaches; none: the first of `teachers` that erases. Inputs that recover the concept from the
    # teacher recover it from the student as well, so the teacher is stronger than most concepts need.
    teacher: PositiveFloat | None = None
    teachers: tuple[PositiveFloat, ...] = Field(default=(4.5, 6.0, 8.0), min_length=1)
    look: PositiveInt = 12  # images of each input, to find that
    batch: PositiveInt = 16  # of the retain set, and as many of the forget set
    lr: PositiveFloat = 2e-4
    forget_weight: PositiveFloat = 0.6  # of the loss on the forget set, beside 1 on the retain set
    uncaptioned: float = Field(default=0.15, ge=0, le=1)  # share of samples with the empty caption
    inputs: PositiveInt = 240  # of each kind in the forget set, for each concept
    # Shares of the teacher strength at which the student imitates it. The final strength is one of these.
    taught: tuple[PositiveFloat, PositiveFloat] = (0.65, 1.0)
    attacks: tuple[dict[str, Any], ...] = ({"kind": "concept-inversion", "words": 6},)
    # Shares of the student's change that are attacked in a round: a weaker edit still knows more of the concept.
    attacked: tuple[PositiveFloat, ...] = Field(default=(0.5, 0.75, 1.0), min_length=1)
    # Images of each finding, drawn at `judged` of the student's change. A round is clean if none recovers.
    images: PositiveInt = 8
    judged: PositiveFloat = 0.65
    as_found: float = Field(default=0.5, ge=0, le=1)  # share of the findings that are kept as found, the others varied
    found_share: float = Field(default=0.5, ge=0, le=1)  # of the forget batch, once there are findings

    @model_validator(mode="after")
    def _shares_are_in_order(self) -> Self:
        low, high = self.taught
        if low > high:
            raise ValueError(f"taught is from {low:g} to {high:g}; the smaller share comes first")
        return self
