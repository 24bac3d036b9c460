"""The steps in the order in which they depend on each other."""

from collections.abc import Iterable
from pathlib import Path

from tverase.config import Params
from tverase.errors import ConfigError, unknown

from . import (
    build_vector,
    choose_strength,
    erase,
    evaluate,
    finetune,
    harden,
    invert,
    make_images,
    prepare_data,
    pretrain,
    pretrain_digits,
    pretrain_flow,
    pretrain_untaught,
    report,
    select,
)
from ._common import DIGITS, MODEL
from ._step import Step

STEPS: tuple[Step, ...] = (
    prepare_data.STEP,
    pretrain.STEP,
    pretrain_digits.STEP,
    make_images.STEP,
    finetune.STEP,
    build_vector.STEP,
    invert.STEP,
    select.STEP,
    harden.STEP,
    choose_strength.STEP,
    erase.STEP,
    evaluate.STEP,
    report.STEP,
)
# With the embedded models that no run makes.
ALL: tuple[Step, ...] = (*STEPS, pretrain_flow.STEP, pretrain_untaught.STEP)
# The steps that make a model of ours, by its folder: a run has those of its own model.
MAKERS: dict[Path, tuple[str, ...]] = {MODEL: ("prepare_data", "pretrain"), DIGITS: ("pretrain_digits",)}
MAKE_THE_MODEL = tuple(name for names in MAKERS.values() for name in names)


def require_steps(names: Iterable[str], steps: Iterable[Step] = STEPS) -> None:
    """Raise a `ConfigError` unless each of `names` is that of one of `steps`."""
    known = [step.name for step in steps]
    for name in names:
        if name not in known:
            raise ConfigError(unknown("step", name, known))


def require_believable(params: Params, start: str | None) -> None:
    """Refuse to begin at `start` if an earlier step was made with other parameters: the result would be of neither."""
    first = [step.name for step in STEPS].index(start) if start is not None else 0
    for step in STEPS[:first]:
        last = None if step.shipped else step.last(params)
        if last is not None and last.params != step.values(params):
            raise ConfigError(
                f"--from {start} believes {step.name}, which was made with other parameters; begin with --from {step.name}, "
                "or leave --from out."
            )


def chosen(params: Params, start: str | None = None) -> list[Step]:
    """The steps of a run: those that make its model, if it is ours, and the method's. Results of steps before `start` are believed."""
    first = [step.name for step in STEPS].index(start) if start is not None else 0
    others = {name for model, names in MAKERS.items() if model != Path(params.model) for name in names}
    return [step for step in STEPS[first:] if step.name not in others]


def makers(step: Step, params: Params) -> list[Step]:
    """The steps of the run whose outputs or records `step` reads."""
    read = {place for path in step.inputs(params).values() for place in (path, *path.parents)}
    others = [other for other in chosen(params) if other.name != step.name]
    return [one for one in others if not read.isdisjoint([*one.outputs(params).values(), one.record_path(params)])]


def require_unmixed(step: Step, params: Params) -> None:
    """Refuse to run `step` on what another run of these concepts has left: the result would be of neither."""
    todo, seen = [step], {step.name}
    while todo:
        for maker in makers(todo.pop(), params):
            last = None if maker.shipped else maker.last(params)
            if last is not None and last.params != maker.values(params):
                raise ConfigError(
                    f"{step.name} reads what {maker.name} made with other parameters; run {maker.name} again, by `dvc repro` or "
                    "`tverase run`."
                )
            if maker.name not in seen:
                seen.add(maker.name)
                todo.append(maker)
