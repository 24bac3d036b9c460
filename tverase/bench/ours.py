"""Our own rows, and hardened ones: the steps of the main pipeline up to the strength, from the images that all rows share."""

from typing import Any

from ..build import BuildVector
from ..context import Context
from ..errors import Infeasible
from ..finetune import FineTune
from ..hardening.settings import Harden
from ..presets import filled
from ..steps import finetuning, hardening, strength, vector
from ..strength.choose import StrengthChoice
from ..strength.settings import ChooseStrength
from ..vector import TaskVector
from .case import Budget
from .material import Prepared


def erase(context: Context, data: Prepared, recipe: str, budget: Budget) -> tuple[TaskVector, dict[str, Any]]:
    """The vector of a recipe, and its strength with what it rests on, as JSON."""
    given = _settings(recipe, budget)
    finetuned = finetuning.fine_tune(context, data.images, FineTune.model_validate(given.get("finetune", {})))
    how = BuildVector.model_validate(given.get("build_vector", {}))
    tau = vector.build_vector(context, finetuned, data.images, how)
    return _strong(context, tau, data, given)


def harden(context: Context, vector: TaskVector, data: Prepared, budget: Budget) -> tuple[TaskVector, dict[str, Any]]:
    """The vector of an eraser, hardened, and its strength by the rule of our own rows, as JSON."""
    vector, facts = _strong(context, vector, data, _settings("robust", budget))
    if facts["teacher"] is None:
        raise Infeasible("the vector erases at no teacher strength, so it was not hardened.")
    return vector, facts


def _settings(recipe: str, budget: Budget) -> dict[str, Any]:
    return filled({"recipe": recipe, "choose_strength": {"frontier": []}, **budget.ours})


def _strong(
    context: Context, vector: TaskVector, data: Prepared, given: dict[str, Any]
) -> tuple[TaskVector, dict[str, Any]]:
    """Hardening and the choice of the strength."""
    tune, validate = data.sets["tune"], data.sets["validate"]
    how = Harden.model_validate(given.get("harden", {}))
    hard = hardening.harden(context, vector, data.images, tune, how)
    rule = ChooseStrength.model_validate(given["choose_strength"])
    choice = strength.choose_strength(context, hard.vector, data.images, tune, validate, rule, hard.teacher)
    return hard.vector, {
        "alpha": _alpha(choice),
        "erases": choice.smallest is not None,
        "feasible": choice.alpha is not None,
        "reason": choice.reason,
        "rounds": len(hard.rounds),
        "teacher": hard.teacher,
    }


def _alpha(choice: StrengthChoice) -> float:
    """The chosen strength; else the smallest that was confirmed, else the strongest that was tried."""
    tried = [one.alpha for one in choice.tested] + [look.alpha for look in choice.explored]
    if choice.alpha is None and choice.smallest is None and not tried:
        raise Infeasible(f"no strength was tried: {choice.reason}.")
    found = choice.alpha if choice.alpha is not None else choice.smallest
    return found if found is not None else max(tried)
