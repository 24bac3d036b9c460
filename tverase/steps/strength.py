"""The strength of a vector: the smallest at which every input fails while the retain set survives."""

from pathlib import Path

from ..context import Context
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
