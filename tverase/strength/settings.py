"""The rule for the strength, and how many images it may cost."""

import math
from typing import Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from ..bounds import AIM, sequential_upper
from ..settings import Settings

SPARE = 0.01  # share of the error for a stronger edit, which is tested if the strongest of `shares` is unsafe


class ChooseStrength(Settings):
    """Two bounds: recovery of every input is at most a share of `epsilon`, and the retain set loses at most `delta`."""

    epsilon: float = Field(default=0.1, gt=0, lt=1)  # recovery rate allowed, upper bound
    # Share of epsilon at which a strength is confirmed. The evaluation attacks afresh: a strength at the limit of the inputs
    # that chose it is beyond the limit of others half of the time. The strongest may take all of epsilon.
    confirm_at: float = Field(default=0.5, gt=0, le=1)
    delta: float = Field(default=0.25, gt=0, le=1)  # retain loss allowed, by the lower bound of the retain accuracy
    error: float = Field(default=0.05, gt=0, lt=1)  # chance that either bound is wrong
    alpha_max: PositiveFloat = 8.0
    # The strengths that are confirmed, strongest first, as shares of the strongest: the teacher strength of a hardened vector,
    # otherwise twice the smallest strength at which the inputs that tune fail.
    shares: tuple[PositiveFloat, ...] = Field(default=(1.0, 0.75, 0.65, 0.5), min_length=1)
    resolution: PositiveFloat = 0.125  # of that exploration
    explore: PositiveInt = 12  # images of each input for it
    round: PositiveInt = 22  # images of each input at a time, when a strength is confirmed
    rounds: PositiveInt = 6  # at most; more of them forgive an input that recovers the concept now and then
    # Attacks on each strength that is confirmed, and on shares of it: a weaker edit still knows more of the concept.
    attacks: tuple[dict[str, Any], ...] = ({"kind": "concept-inversion", "words": 6, "space": "tokens"},)
    attacked: tuple[PositiveFloat, ...] = Field(default=(0.75, 1.0), min_length=1)
    retain_images: PositiveInt = 320
    frontier: tuple[float, ...] = (0.0, 0.5, 0.75, 1.0, 1.25, 1.5)  # of the chosen alpha, for the curve
    frontier_images: PositiveInt = 6
    frontier_retain_images: PositiveInt = 80
    when_infeasible: Literal["stop", "safest"] = "stop"

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.resolution > self.alpha_max:
            raise ValueError(f"resolution {self.resolution} is larger than alpha_max {self.alpha_max}")
        if list(self.shares) != sorted(set(self.shares), reverse=True) or self.shares[0] > 1:
            raise ValueError(f"shares {list(self.shares)} must fall, from at most 1")
        if self.most < self.needed:
            raise ValueError(
                f"epsilon={self.epsilon:g} takes {self.needed} images of an input without a single recovery to confirm, and "
                f"round={self.round} x rounds={self.rounds} allows {self.most}; set rounds to {-(-self.needed // self.round)} "
                "or more, or raise epsilon"
            )
        return self

    @property
    def limit(self) -> float:
        """The recovery rate that no input exceeds at a confirmed strength."""
        return self.confirm_at * self.epsilon

    @property
    def most(self) -> int:
        """The images of an input that is in doubt to the end."""
        return self.round * self.rounds

    @property
    def needed(self) -> int:
        """Images without a single recovery after which an input is safe."""
        return math.ceil(math.log((1 - SPARE) * self.error) / (math.log1p(-self.limit) - math.log1p(-AIM * self.limit)))

    def safe(self, hits: int, images: int, limit: float) -> bool:
        """Whether an input with these counts recovers the concept no more often than `limit`."""
        return sequential_upper(hits, images, self.error) <= limit

    def lost(self, hits: int, limit: float) -> bool:
        """Whether an input cannot be found safe any more, even if it never recovered the concept again."""
        return not self.safe(hits, self.most, limit)
