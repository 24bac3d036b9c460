"""How the row of an eraser, or ours, is made: the edit, and its strength."""

from pathlib import Path
from typing import Any

from ..errors import ConfigError, NumericalError
from ..models.base import Meter
from ..registry import built
from ..vector import TaskVector
from .case import Case
from .material import prepared
from .ours import erase, harden
from .rows import TAU, Row
from .tuned import strengths


def make(case: Case, row: Row, material: Path, folder: Path) -> dict[str, Any]:
    """Make an edit and choose its strength; writes the vector, if it is one, and answers what came out."""
    meter, data = Meter(), prepared(material)
    context = case.context(meter)
    if row.kind == "ours":
        vector, facts = erase(context, data, row.recipe, case.budget)
        vector.save(folder / TAU)
        return {**facts, "guard": False, "evaluations": meter.evaluations}
    by = built("eraser", row.eraser or "").run(data.material(case, meter))
    if isinstance(by, TaskVector) and not all(bool(change.isfinite().all()) for change in by.delta.values()):
        raise NumericalError("the eraser's vector is not finite; lower its learning rate.")
    if row.hardened:
        if not isinstance(by, TaskVector):
            raise ConfigError(f"{row.name}: a guard has no vector to harden; leave `hardened` out.")
        hard, facts = harden(context, by, data, case.budget)
        hard.save(folder / TAU)
        return {**facts, "guard": False, "evaluations": meter.evaluations}
    made = meter.evaluations
    if isinstance(by, TaskVector):
        by.save(folder / TAU)
    alpha, tried = strengths(context, by, data.sets["validate"], case.budget)
    erases = next(one for one in tried if one.alpha == alpha).worst.rate <= case.budget.epsilon
    return {
        "alpha": alpha,
        "erases": erases,
        "tried": [one.as_dict() for one in tried],
        "guard": not isinstance(by, TaskVector),
        "evaluations": made,
        "tuning": meter.evaluations - made,
    }
