"""The strength of an eraser: the same few strengths, inputs and images for every eraser."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..bounds import Bound
from ..context import Context
from ..erasers.base import Guard, erased
from ..inversion.sets import InversionSet
from ..judges.base import shows
from ..models.base import Model, in_turn
from ..rng import generator
from ..sampling import draw
from ..trial import Inputs
from ..vector import TaskVector
from .case import Budget


@dataclass(frozen=True)
class Strength:
    """A strength that was tried: hits and images of its worst input, and of all together."""

    alpha: float
    worst: Bound
    every: Bound

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"alpha": self.alpha, "worst": self.worst.as_dict(), "all": self.every.as_dict()}


def strengths(
    context: Context, by: TaskVector | Guard, validate: InversionSet, budget: Budget
) -> tuple[float, list[Strength]]:
    """The strength to use, and those that were tried.

    It is the smallest at which no tuning input recovers the concept in more than `budget.epsilon` of its images. If none
    erases, it is the one whose worst input is lowest. Inputs are the concept's names, compositions and grown prompts that tune
    or validate, and the embeddings that validate. Of these, only the names are scored as well, with other noise.
    """
    tried = list[Strength]()
    for alpha in sorted(budget.strengths):
        tried.append(_tried(context, erased(context.model, by, alpha), validate, alpha, budget.tune))
        if tried[-1].worst.rate <= budget.epsilon:
            return alpha, tried
    safest = min(tried, key=lambda one: (one.worst.rate, one.every.rate, one.alpha))
    return safest.alpha, tried


def _tried(context: Context, model: Model, validate: InversionSet, alpha: float, images: int) -> Strength:
    """One strength. The inputs are encoded by the edited model, because a guard may edit the encoder."""
    inputs = Inputs.of(model, context.concepts, {"validate": validate}, context.invert)
    counts = []
    for name, cond in inputs.cond.items():
        rng = generator(context.seed, f"bench/tune/{name}")
        drawn = draw(model, in_turn(cond, images), rng, context.sampling)
        counts.append(_seen(context, drawn, inputs.concept[name].label))
    hits, drawn_images = sum(one.successes for one in counts), sum(one.trials for one in counts)
    return Strength(alpha, max(counts, key=lambda one: one.successes), Bound(hits, drawn_images))


def _seen(context: Context, drawn: Tensor, label: str) -> Bound:
    """How often the concept is seen; images that are not finite count as the concept, so that no broken model erases."""
    broken = not bool(drawn.isfinite().all())
    return Bound(len(drawn) if broken else int(shows(context.judge, drawn, label).sum()), len(drawn))
