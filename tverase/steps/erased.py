"""The edited model as a folder: theta_0 - alpha * tau, its card, and tau with all that one has to know to use it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..concepts import Concept
from ..errors import Infeasible
from ..files import sha256
from ..models.card import ErasedCard
from ..models.folder import check_folder, licence, write_edited
from ..vector import StateDict, TaskVector

if TYPE_CHECKING:
    from ..strength.settings import ChooseStrength


def write_erased(
    source: str | Path,
    weights: StateDict,
    vector: TaskVector,
    alpha: float,
    concepts: Sequence[Concept],
    out: Path,
    tau: Path,
) -> tuple[str, ...]:
    """Write the model of the folder `source`, whose weights are `weights`, to `out` and the vector to `tau`.

    Returns the files of `source` that were left out.
    """
    terms = licence(source)
    left_out = write_edited(source, vector.apply(weights, alpha), out)
    check_folder(out)
    vector.noting(alpha=f"{alpha:g}", licence=terms, sign="theta = theta_0 - alpha * tau").save(tau)
    names = [concept.name for concept in concepts]
    ErasedCard(names, alpha, str(source), vector.base, sha256(tau), terms, left_out).write(out)
    return left_out


def require_alpha(answer: Mapping[str, Any], settings: "ChooseStrength") -> float:
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
