"""Hardening as a whole: the teacher strength, then rounds of distillation and attack."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ..context import Context
from ..hardening import harden as rounds_of
from ..hardening.forget import ForgetRetain, forget_set
from ..hardening.settings import Harden
from ..hardening.teacher import Look, teacher_strength
from ..inversion.sets import InversionSet
from ..trial import Inputs
from ..vector import TaskVector
from .images import Images


@dataclass(frozen=True)
class Hardened:
    """The vector after the last round, and how it came about. Without a teacher it is the vector that was given."""

    vector: TaskVector
    teacher: float | None = None
    looks: tuple[Look, ...] = ()
    rounds: tuple[dict[str, Any], ...] = ()
    findings: Mapping[str, Tensor] = field(default_factory=dict)
    clean: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For hardening.json."""
        looks = [look.as_dict() for look in self.looks]
        return {"teacher": self.teacher, "clean": self.clean, "looks": looks, "rounds": list(self.rounds)}


def harden(
    context: Context,
    vector: TaskVector,
    images: Images,
    tune: InversionSet,
    settings: Harden,
    checkpoint: Path | None = None,
) -> Hardened:
    """Distil the edit and attack it in rounds. tune: the embeddings that may change the vector.

    checkpoint: a folder in which rounds are kept, so that a call that was stopped continues.
    """
    if not settings.max_rounds:
        return Hardened(vector)
    data = ForgetRetain(*images.retain(context), images.forget(context), forget_set(context, tune, settings))
    teacher, looks = settings.teacher, tuple[Look, ...]()
    if teacher is None:
        inputs = Inputs.of(context.model, context.concepts, {"tune": tune}, context.invert)
        looks = teacher_strength(context, vector, inputs, data, settings)
        teacher = looks[-1].alpha if looks[-1].erases else None
    if teacher is None:
        return Hardened(vector, looks=looks)
    findings: dict[str, Tensor] = {}
    about, clean = [], False
    for latest in rounds_of.harden(context, vector, data, settings, teacher, checkpoint):
        findings |= latest.conditionings
        about.append(latest.as_dict())
        vector, clean = latest.vector, latest.clean
    return Hardened(vector, teacher, looks, tuple(about), findings, clean)
