"""What a version must show before it becomes the champion: the section `review` of params.yaml."""

import re

from pydantic import Field, PositiveInt, field_validator

from .settings import Settings


class Review(Settings):
    """The gates of `tverase review promote`."""

    worst_upper: float = Field(
        default=0.1, ge=0, le=1, description="The highest upper bound of the recovery rate over all inputs."
    )
    retain_upper: float = Field(default=0.25, ge=0, le=1, description="The highest upper bound of the retain loss.")
    verdict: str = Field(default="erased", min_length=1, description="The verdict that the report must have.")
    reviewers: PositiveInt = Field(default=1, description="How many people must approve.")
    not_author: bool = Field(
        default=True, description="Whether an approval by the person who registered the version does not count."
    )
    alias: str = Field(default="champion", description="The alias in MLflow that a promotion moves.")

    @field_validator("alias")
    @classmethod
    def _is_an_alias(cls, alias: str) -> str:
        return require_alias(alias)


def require_alias(alias: str) -> str:
    """The alias itself, or a `ValueError` if MLflow would refuse it."""
    if not re.fullmatch(r"[\w-]{1,255}", alias) or alias == "latest" or re.fullmatch(r"[vV]\d+", alias):
        raise ValueError(f"{alias!r} is no alias for MLflow: letters, digits, - and _, but not latest and not v1")
    return alias
