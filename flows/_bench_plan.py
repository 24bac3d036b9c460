"""From the options of `tverase bench`, `ladder` and `attack` to a plan, checked before anything starts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks._common import MODEL
from tasks._main import require_possible
from tasks.pretrain_untaught import UNTAUGHT
from tverase.bench.case import Case
from tverase.bench.jury import members
from tverase.bench.plan import Plan, attempts, erasers
from tverase.bench.presets import QUICK_INVERT, budget, specs
from tverase.bench.rows import Row
from tverase.concepts import slug
from tverase.config import Params
from tverase.errors import ConfigError
from tverase.inversion.diverse import Invert
from tverase.models.folder import check_folder, locate
from tverase.pretrain.untaught import WITHOUT


@dataclass(frozen=True)
class Options:
    """What a person may choose; empty means the default."""

    quick: bool = False
    concepts: Sequence[str] = ()
    seeds: Sequence[int] = ()
    erasers: Sequence[str] = ()
    attacks: Sequence[str] = ()
    never_taught: str = ""
    ours: str = ""
    second_judge: str = ""
    images: int | None = None
    seconds: int | None = None
    out: Path | None = None
    folders: Sequence[str] = ()
    more: dict[str, Any] = field(default_factory=dict)  # of the budget


def table(params: Params, options: Options) -> Plan:
    """Erasers x attacks x concepts x seeds."""
    mine = [Row(name=f"ours ({recipe})", kind="ours", recipe=recipe) for recipe in ("robust", "paper")]  # type: ignore[arg-type]
    if options.ours == "none":
        mine = []
    elif options.ours:
        mine = [Row(name="ours", kind="ours", folder=options.ours)]
    elif options.quick:  # hardening takes longer than all of a quick table
        mine = [Row(name="ours", kind="ours", folder=str(Path("outputs") / "{concept}" / "erased")), mine[1]]
    rows = (
        *controls(params, options),
        *mine,
        *_given(options.folders),
        *erasers(specs(options.erasers, "eraser", quick=options.quick)),
    )
    out = options.out or Path("outputs") / ("bench-quick" if options.quick else "bench")
    return plan(params, options, rows, out, "tverase bench" + (", quick" if options.quick else ""))


def ladder(params: Params, options: Options, folder: str) -> Plan:
    """All attacks on one model folder, beside the controls."""
    (row,) = _given([folder])
    rows = (*controls(params, options), row)
    out = options.out or Path("outputs") / f"ladder-{slug(row.name)}"
    return plan(params, options, rows, out, f"The ladder of {row.name}")


def controls(params: Params, options: Options) -> list[Row]:
    """The base model, and a model that never learned the concept if there is one."""
    untaught = options.never_taught or (str(UNTAUGHT) if Path(params.model) == MODEL else "")
    rows = [Row(name="base", kind="base")]
    if options.never_taught and "{concept}" not in untaught:
        check_folder(locate(untaught))
    if untaught and (options.never_taught or Path(untaught).exists()):
        known = () if options.never_taught else WITHOUT  # ours was taught all other concepts
        rows.append(Row(name="never taught", kind="never-taught", folder=untaught, concepts=known))
    return rows


def _given(folders: Sequence[str]) -> list[Row]:
    """A row for each folder, by its last name; by its whole path where two would be called the same."""
    for folder in folders:
        check_folder(locate(folder))
    names = [Path(folder).name for folder in folders]
    taken = {"base", "never taught", "ours", *(name for name in names if names.count(name) > 1)}
    named = [folder if name in taken else name for name, folder in zip(names, folders, strict=True)]
    return [Row(name=name, kind="folder", folder=folder) for name, folder in zip(named, folders, strict=True)]


def plan(params: Params, options: Options, rows: Sequence[Row], out: Path, title: str) -> Plan:
    """The plan of these rows for the concepts and seeds that were asked for."""
    require_possible(params)
    if len({row.name for row in rows}) < len(rows):
        raise ConfigError("two rows of the table have the same name; name each eraser and each folder once.")
    more = {**options.more, "each": options.images, "seconds": options.seconds}
    about: dict[str, Any] = {
        "model": params.model,
        "judges": members(params.judge_spec, options.second_judge or None),
        "sampling": params.sampling,
        "invert": Invert.model_validate({**params.invert.model_dump(), **(QUICK_INVERT if options.quick else {})}),
        "budget": budget(quick=options.quick, **more),
        "device": params.runtime.device,
    }
    names = options.concepts or params.concepts
    seeds = options.seeds or (params.seed,)
    cases = tuple(Case(concept=name, seed=seed, **about) for name in names for seed in seeds)
    tried = attempts(specs(options.attacks, "attack", quick=options.quick))
    return Plan(title=title, cases=cases, rows=tuple(rows), attempts=tried, out=out)
