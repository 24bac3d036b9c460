"""Base and erased model side by side, on inputs and noise that tuned nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..concepts import Concept, halves
from ..context import Context
from ..defences import Defended, named
from ..evaluation import Budget, Examiner, RetainSet, Row, Tried, examine
from ..inversion.sets import InversionSet
from ..judges.base import about
from ..models.base import Model
from ..registry import built
from ..report.pack import pack
from ..summary import metrics, summary

if TYPE_CHECKING:
    from ..evaluation_settings import Evaluate

SHARE = "share"  # of the edit, against which an attack searches; a key beside those of the attack


@dataclass(frozen=True)
class Evaluation:
    """The rows of every kind of input, the retain set, and both in numbers with their intervals."""

    rows: Sequence[Row]
    retain_set: RetainSet
    summary: Mapping[str, Any]
    pictures: Mapping[str, Tensor]

    def metrics(self, alpha: float) -> dict[str, Any]:
        """The few numbers that decide, for a model erased at strength alpha."""
        return metrics(dict(self.summary), alpha)


def evaluate(context: Context, erased: Model, report: InversionSet, settings: "Evaluate") -> Evaluation:
    """Score both models on prompts, attacks and the retain set. report: embeddings that tuned nothing."""
    behind = _behind(settings.defences, erased, context.concepts)
    examiner = Examiner(context.model, erased, context.judge, context.sampling, context.seed, settings.shown, behind)
    budget = Budget(report, context.invert, settings.images, settings.images_each)
    rows = []
    for progress, row in examine(examiner, context.concepts, tried(settings.attacks), budget):
        context.tell(progress)
        rows.append(row)
    retain_set = examiner.retain_set(context.concepts, settings.retain_images)
    numbers = summary(rows, retain_set, context.concepts)
    every = max(1, len(retain_set.prompts) // settings.shown)
    numbers["retain"]["shown"] = [prompt.text for prompt in retain_set.prompts[::every]]
    numbers |= {"judge": about(context.judge), "evaluations": context.model.meter.evaluations}
    return Evaluation(rows, retain_set, numbers, pack(rows, retain_set, settings.shown))


def tried(attacks: Mapping[str, Mapping[str, Any]]) -> list[Tried]:
    """The attacks of the settings, by label."""
    return [
        Tried(label, built("attack", spec), attacks[label].get(SHARE, 1.0)) for label, spec in plain(attacks).items()
    ]


def plain(attacks: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the attacks themselves are told."""
    return {label: {key: value for key, value in spec.items() if key != SHARE} for label, spec in attacks.items()}


def _behind(defences: Sequence[str], erased: Model, concepts: Sequence[Concept]) -> dict[str, Model]:
    """The erased model behind each defence. What a service knows are prompts for everything else, those that tune."""
    if not defences:
        return {}
    tuning, _ = halves(concepts)
    known = erased.encode([prompt.text for prompt in tuning])
    return {name: Defended(erased, named(name)(known)) for name in defences}
