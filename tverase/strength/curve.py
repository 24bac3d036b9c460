"""The strength of one vector on one model, and recovery and retain accuracy around it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..attacks.run import searching
from ..bounds import Bound
from ..checkpoint import Checkpoint
from ..context import Context
from ..progress import Progress
from ..trial import Inputs, ModelTrial, tuning_prompts
from ..vector import TaskVector
from .choose import StrengthChoice, choose
from .confirm import worst_of
from .settings import ChooseStrength


@dataclass
class ToldTrial(ModelTrial):
    """The same trial, which tells where it is: a strength takes a minute or two."""

    confirmed: int = 0
    strengths: int = 1

    def attack(self, alpha: float) -> list[str]:
        """As the trial does."""
        self.tell(f"alpha {alpha:g}: attacks, then images of every input")
        return super().attack(alpha)

    def tell(self, note: str) -> None:
        """How many strengths are tested, and a word."""
        self.context.tell(Progress("confirming the strength", self.confirmed, self.strengths, note))


def choose_strength(
    context: Context,
    vector: TaskVector,
    inputs: Inputs,
    latents: Mapping[str, Tensor],
    settings: ChooseStrength,
    teacher: float | None = None,
    checkpoint: Path | None = None,
) -> Iterator[StrengthChoice]:
    """Yields the choice after each strength, then the answer with the curve around it.

    teacher: the teacher strength of a hardened vector.
    latents: images of each concept, which attackers own.
    checkpoint: a folder for confirmed strengths, so that a stopped call continues.
    """
    attacks = searching(settings.attacks, "choose_strength")
    retain_prompts = tuning_prompts(context, "choose_strength")
    trial = ToldTrial(
        context, vector, inputs.copy(), retain_prompts, latents=latents, attacks=attacks, attacked=settings.attacked
    )
    names, kept = inputs.names, Checkpoint(checkpoint, context.model.meter)
    trial.strengths = len(settings.shares)
    choice = StrengthChoice()
    for choice in choose(trial, names["tune"], names.get("validate", []), settings, teacher, kept):
        if choice.tested:
            last = choice.tested[-1]
            worst, hits, images = worst_of(last.counts)
            word = "safe" if last.safe else "unsafe"
            trial.confirmed = len(choice.tested)
            trial.tell(f"alpha {last.alpha:g} is {word}: worst {worst}, {hits} of {images} images")
        yield choice
    yield frontier(trial, choice, settings)


def frontier(trial: ModelTrial, choice: StrengthChoice, settings: ChooseStrength) -> StrengthChoice:
    """The choice with recovery and retain accuracy around it, from a few images each: for people, not for the decision."""
    centre = choice.alpha or choice.smallest or settings.alpha_max
    weighed = {0.0, centre}  # already, with all their retain images
    names = [name for name in trial.inputs.names["tune"] if ": " in name]
    embeddings = [name for name in trial.inputs.names["tune"] if ": " not in name]
    points: list[dict[str, Any]] = []
    for done, factor in enumerate(settings.frontier):
        alpha, count = round(centre * factor, 4), settings.frontier_images
        trial.context.tell(Progress("drawing the curve", done, len(settings.frontier), f"alpha {alpha:g}"))
        counts = dict(zip(names + embeddings, trial.recovery(alpha, names + embeddings, count), strict=True))
        worst = max(embeddings or names, key=lambda name: counts[name])
        images = settings.retain_images if alpha in weighed else settings.frontier_retain_images
        points.append(
            {
                "alpha": alpha,
                "name": Bound(sum(counts[n] for n in names), count * len(names)).as_dict(),
                "worst": Bound(counts[worst], count).as_dict(),
                "worst_input": worst,
                "retain": trial.retain_accuracy(alpha, images).as_dict(),
            }
        )
    return replace(choice, frontier=tuple(points))
