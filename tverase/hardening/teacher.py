"""The strength of the edit that teaches: the first at which inputs that tune and fresh attacks fail."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..attacks.run import searching
from ..context import Context
from ..progress import Progress
from ..trial import Inputs, ModelTrial
from ..vector import TaskVector
from .forget import ForgetRetain
from .settings import Harden


@dataclass(frozen=True)
class Look:
    """A strength with hits and images of each input: of those that tune, and of findings where these fail."""

    alpha: float
    tuned: Mapping[str, tuple[int, int]]
    found: Mapping[str, tuple[int, int]]

    @property
    def erases(self) -> bool:
        """Whether no input recovers the concept in over a tenth of its images, and all findings in at most a hundredth."""
        hits, drawn = (sum(counts[side] for counts in self.found.values()) for side in (0, 1))
        every = [*self.tuned.values(), *self.found.values()]
        return all(seen <= images / 10 for seen, images in every) and hits <= drawn / 100

    def as_dict(self) -> dict[str, Any]:
        """For hardening.json."""
        return {**asdict(self), "erases": self.erases}


def teacher_strength(
    context: Context, vector: TaskVector, inputs: Inputs, data: ForgetRetain, settings: Harden
) -> tuple[Look, ...]:
    """A look at one of `settings.teachers` after another, up to the first that erases; the last look says if one does."""
    attacks = searching(settings.attacks, "harden")
    trial = ModelTrial(context, vector, inputs.copy(), (), "harden/teacher", data.forget_latents, attacks)
    looks: list[Look] = []
    for done, alpha in enumerate(settings.teachers):
        context.tell(Progress("looking for the teacher strength", done, len(settings.teachers), f"alpha {alpha:g}"))
        look = Look(alpha, _counts(trial, alpha, inputs.names["tune"], settings.look), {})
        if look.erases:
            look = Look(alpha, look.tuned, _counts(trial, alpha, trial.attack(alpha), 2 * settings.look))
        looks.append(look)
        if look.erases:
            break
    return tuple(looks)


def _counts(trial: ModelTrial, alpha: float, names: list[str], images: int) -> dict[str, tuple[int, int]]:
    hits = trial.recovery(alpha, names, images) if names else []
    return {name: (hit, images) for name, hit in zip(names, hits, strict=True)}
