"""Control subtraction: what a fine-tune on self-drawn images learns of every image, and not of the concept.

Negation of one vector within another, the task analogy of Ilharco et al. (2023, arXiv:2212.04089, section 5). That the
vector of unrelated self-drawn images is what to subtract (their guided look, their sampler's faults) is ours.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle

from ..errors import ConfigError
from ..vector import TaskVector


def less_control(
    copies: Mapping[str, Sequence[TaskVector]], control: Sequence[TaskVector] | None, share: float
) -> dict[str, list[TaskVector]]:
    """Every vector less `share` of the control's: each copy of a concept loses the control of its own number.

    control: None where nothing was fine-tuned on unrelated images; that is a `ConfigError` unless `share` is 0.
    """
    if not share:
        return {name: list(many) for name, many in copies.items()}
    if control is None:
        raise ConfigError("build_vector.subtract_control needs the control's fine-tuning: set finetune.control=true.")
    less = [share * vector for vector in control]
    return {name: [v - c for v, c in zip(many, cycle(less), strict=False)] for name, many in copies.items()}
