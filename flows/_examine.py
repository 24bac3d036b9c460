"""`tverase examine`: our whole evaluation and report of a model that somebody else has erased."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from tasks._main import quiet, require_possible, set_threads
from tverase.api import open_model, prepare
from tverase.bars import show
from tverase.config import Params
from tverase.context import Context
from tverase.errors import ConfigError, NotProved
from tverase.files import write_json
from tverase.images import to_bytes
from tverase.inversion.run import InversionRun
from tverase.inversion.sets import InversionSet
from tverase.judges.base import about
from tverase.models.base import Model
from tverase.models.folder import check_folder, locate
from tverase.report.about import judge_facts, versions
from tverase.report.facts import Facts
from tverase.report.html import write_report
from tverase.report.pictures import write_sheets
from tverase.report.plots import write_plots
from tverase.report.tables import write_tables
from tverase.report.verdict import verdict
from tverase.steps.drawing import make_images
from tverase.steps.evaluation import evaluate
from tverase.steps.images import Images

GIVEN = {"alpha": 1.0, "reason": "the model was given as it is, and no strength was searched"}


def examined(params: Params, erased: str, out: Path) -> dict[str, Any]:
    """Evaluate the model `erased` beside the base model of the parameters; writes the report, and returns its verdict."""
    quiet()
    require_possible(params)
    set_threads(params)
    for folder in (params.model, erased):
        check_folder(locate(folder))
    base, other = (open_model(folder, params.runtime.device) for folder in (params.model, erased))
    context = prepare(base, tuple(params.concept_list), params, params.judge_spec)
    require_alike(context.model, other, params)
    with show("examine") as tell:
        facts = _facts(replace(context, tell=tell), other.metered(context.model.meter), params)
    return _written(facts, out)


@torch.no_grad()
def require_alike(base: Model, erased: Model, params: Params) -> None:
    """Refuse a model of another size, or one whose text encoder was edited: the report draws the same inputs with both."""
    sizes = [tuple(one.start(1, torch.Generator().manual_seed(0)).shape[1:]) for one in (base, erased)]
    names = [params.concept_list[0].names[0]]
    if sizes[0] != sizes[1]:
        raise ConfigError(
            f"BASE has latents of {sizes[0]} and ERASED of {sizes[1]}; give the model that ERASED was made from."
        )
    mine, theirs = base.encode(names), erased.encode(names)
    if mine.shape != theirs.shape or not torch.equal(mine, theirs):
        raise ConfigError(
            "ERASED encodes prompts in another way than BASE: its text encoder was edited, or it was made from another model; "
            "use `tverase ladder ERASED`, which asks each model through its own encoder."
        )


def _facts(context: Context, erased: Model, params: Params) -> Facts:
    few = params.make_images.model_copy(update={"retain_images": 1})  # the examined model learns nothing from them
    images = make_images(context, few)
    report, found, pictures = _inverted(context, images)
    evaluated = evaluate(context, erased, report, params.evaluate)
    judged = about(context.judge)
    names = [concept.name for concept in context.concepts]
    shown = {f"concept/{k.partition('/')[2]}": v for k, v in images.tensors.items() if k.startswith("shown/")}
    return Facts(
        params={**params.model_dump(mode="json", by_alias=True), "concepts": names, "judge": judged["name"]},
        summary=evaluated.summary,
        metrics=evaluated.metrics(GIVEN["alpha"]),  # type: ignore[arg-type]
        strength={**GIVEN, "judge": judged},
        inversions={"found": found, "evaluations": context.model.meter.evaluations},
        pictures={**pictures, **shown, **evaluated.pictures},
        hashes={},
        timings={},
        cost={"examine": context.model.meter.evaluations},
        judges=judge_facts(judged),
        versions=versions(),
    )


def _inverted(context: Context, images: Images) -> tuple[InversionSet, list[dict[str, Any]], dict[str, Any]]:
    """Embeddings of all concepts that only score, their facts, and what they draw on the base model."""
    sets, found, pictures = [], list[dict[str, Any]](), dict[str, Any]()
    latents = images.forget(context)
    for concept in context.concepts:
        how = context.model, concept, context.invert, context.judge, context.sampling, context.seed
        search = InversionRun(*how, roles=("report",))
        sets.append(search.run(latents[concept.name], context.tell)["report"])
        found += [{"role": "report", **vars(item)} for item in sets[-1].found]
        pictures |= {f"inversion/{name}": to_bytes(drawn) for name, drawn in search.shown.items()}
    whole = sets[0]
    for more in sets[1:]:
        whole = whole + more
    return whole, found, pictures


def _written(facts: Facts, out: Path) -> dict[str, Any]:
    said = verdict(facts)
    write_plots(facts, out / "plots")
    write_tables(facts, out / "tables")
    write_sheets(facts, out / "pictures")
    write_json(out / "metrics.json", dict(facts.metrics))
    write_json(out / "verdict.json", asdict(said))
    write_report(facts, out / "report.html")
    return {"outcome": said.outcome, "title": said.title, "why": said.why, "report": str(out / "report.html")}


def require_proved(result: dict[str, Any]) -> None:
    """Nothing if the verdict is "erased"; otherwise `NotProved`."""
    if result["outcome"] != "erased":
        raise NotProved(f"{result['title']} ({result['outcome']}). {result['why']}")
