"""The steps in the order in which they depend on each other."""

from collections.abc import Iterable
from pathlib import Path

from tverase.config import Params
from tverase.errors import ConfigError, unknown

from . import (
    build_vector,
    digit_strength,
    digit_vectors,
    erase,
    evaluate,
    finetune,
    invert,
    make_images,
    prepare_data,
    pretrain,
    pretrain_digits,
    repair,
    report,
    search_strength,
    select,
    unconditional_safety,
)
from ._common import model_is_given
from ._step import Step

STEPS: tuple[Step, ...] = (
    prepare_data.STEP,
    pretrain.STEP,
    make_images.STEP,
    finetune.STEP,
    build_vector.STEP,
    invert.STEP,
    select.STEP,
    repair.STEP,
    search_strength.STEP,
    erase.STEP,
    evaluate.STEP,
    report.STEP,
)
MAKE_THE_MODEL = ("prepare_data", "pretrain")  # skipped when a model is given

# The digit experiment: flows/unconditional_safety.py.
DIGIT_STEPS: tuple[Step, ...] = (
    pretrain_digits.STEP,
    digit_vectors.STEP,
    digit_strength.STEP,
    unconditional_safety.STEP,
)


def digit_steps(params: Params) -> list[Step]:
    """The steps of the digit experiment: a model that is given needs no training of ours."""
    given = Path(params.digits.model) != pretrain_digits.MODEL
    return [step for step in DIGIT_STEPS if not (given and step is pretrain_digits.STEP)]


def require_steps(names: Iterable[str], steps: Iterable[Step] = STEPS) -> None:
    """Raise a `ConfigError` unless each of `names` is that of one of `steps`."""
    known = [step.name for step in steps]
    for name in names:
        if name not in known:
            raise ConfigError(unknown("step", name, known))


def chosen(params: Params, start: str | None = None) -> list[Step]:
    """The steps of a run: a model that is given needs no training of ours; what comes before `start` is believed."""
    first = [step.name for step in STEPS].index(start) if start is not None else 0
    skipped = MAKE_THE_MODEL if model_is_given(params) else ()
    return [step for step in STEPS[first:] if step.name not in skipped]
