"""The section `monitor` of the parameters."""

from typing import Any

from pydantic import Field, PositiveInt, field_validator

from ..registry import built
from ..settings import Settings


class Monitor(Settings):
    """How much a night draws, and what is an alarm; `review.alias` is watched. Nothing here is part of a step's key."""

    images: PositiveInt = 120  # of each input kind, each night
    retain_images: PositiveInt = 160  # of the retain set, each night
    # The share of images that an input may draw the concept in, if the record of the version has no higher one.
    tolerated: float = Field(default=0.01, gt=0, lt=0.5)
    error: float = Field(default=0.01, gt=0, lt=0.5)  # the share of sound versions that ever raise an alarm
    attacks: dict[str, dict[str, Any]] = Field(default_factory=dict)  # more than those of the evaluation, by label
    fall_back: bool = False  # on an alarm the alias goes back to the version before

    @field_validator("attacks")
    @classmethod
    def _built(cls, attacks: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for spec in attacks.values():
            built("attack", spec)
        return attacks
