"""The strength of a vector: the smallest at which every input fails while the retain set survives."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..context import Context
from ..errors import Infeasible
from ..inversion.sets import InversionSet
from ..strength import curve
from ..strength.choose import StrengthChoice
from ..strength.settings import ChooseStrength
from ..trial import Inputs
from ..vector import TaskVector
from .images import Images


def choose_strength(
    context: Context,
    vector: TaskVector,
    images: Images,
    tune: InversionSet,
    validate: InversionSet,
    settings: ChooseStrength,
    teacher: float | None = None,
    checkpoint: Path | None = None,
) -> StrengthChoice:
    """Explore on `tune`, confirm on `validate` and on fresh attacks. teacher: the teacher strength of a hardened vector.

    checkpoint: a folder in which confirmed strengths are kept, so that a call that was stopped continues.
    """
    inputs = Inputs.of(context.model, context.concepts, {"tune": tune, "validate": validate}, context.invert)
    how = images.forget(context), settings, teacher, checkpoint
    *_, choice = curve.choose_strength(context, vector, inputs, *how)
    return choice


def require_alpha(answer: Mapping[str, Any], settings: ChooseStrength) -> float:
    """The strength to use; `Infeasible` if there is none and the settings do not ask for the safest one.

    answer: strength.json, or `StrengthChoice.as_dict`.
    """
    alpha, smallest = answer["alpha"], answer["smallest"]
    if alpha is not None:
        return float(alpha)
    if settings.when_infeasible == "safest" and smallest is not None:
        return float(smallest)
    raise Infeasible(
        f"no strength meets both bounds: {answer['reason']}. Allow more loss (choose_strength.delta), ask for less "
        "(choose_strength.epsilon), or set choose_strength.when_infeasible=safest to go on with the smallest strength that "
        "erases."
    )
