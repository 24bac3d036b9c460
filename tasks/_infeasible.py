"""No strength meets both bounds: that is a result, with a report, an MLflow run and no erased model."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from tverase.config import Params
from tverase.errors import Infeasible
from tverase.files import digest_of, read_json, write_json
from tverase.report.facts import Facts
from tverase.report.infeasible import write_infeasible
from tverase.report.panels import strength as curve
from tverase.report.plots import save_png
from tverase.report.verdict import Verdict, verdict
from tverase.steps.erased import require_alpha

from . import erase, evaluate, report
from ._lineage import origin, resolved
from ._record import Record
from ._secrets import cleaned
from ._tracking import Request, record


def why(params: Params) -> str:
    """Why there is no strength to erase with; empty if there is one, or if the parameters ask for one all the same."""
    if params.erase.alpha is not None:
        return ""
    try:
        require_alpha(read_json(params.out / "strength.json"), params.choose_strength)
    except Infeasible as error:
        return str(error)
    return ""


def conclude(params: Params, records: Mapping[str, Record]) -> tuple[Verdict, Path]:
    """Take away what an earlier run of these concepts left behind the search, and write the report of this one."""
    for step in (report.STEP, evaluate.STEP, erase.STEP):
        step.put_away(params)
    facts = gather(params, records)
    said, page = verdict(facts), report.STEP.outputs(params)["report"]
    write_infeasible(facts, page)
    save_png(curve(facts), params.out / "plots" / "strength.png")
    write_json(params.out / "verdict.json", asdict(said))
    return said, page


def gather(params: Params, records: Mapping[str, Record]) -> Facts:
    """What the report of an infeasible run shows."""
    return Facts(
        params=cleaned(params.model_dump(mode="json", by_alias=True)),
        summary={"concepts": [concept.name for concept in params.concept_list], "rows": [], "worst": {}},
        metrics={},
        strength=read_json(params.out / "strength.json"),
        hardening=read_json(params.out / "hardening.json"),
        inversions={},
        pictures={},
        hashes={path: digest for record in records.values() for path, digest in record.outputs.items()},
        timings={name: record.seconds for name, record in records.items()},
        cost={name: record.evaluations for name, record in records.items()},
        judges=report.judge_facts(read_json(params.out / "strength.json").get("judge") or {}),
        versions=report.versions(),
    )


def record_run(
    params: Params, said: Verdict, records: Mapping[str, Record], links: Mapping[str, str]
) -> tuple[str, str]:
    """A run in MLflow and no version, once for each content; returns the run's id and its page."""
    made_by = origin(params, params.name, records, [Path("dvc.lock")])
    strength = params.out / "strength.json"
    return record(
        Request(
            experiment=params.register_.experiment,
            run_name=f"erase-{params.name}",
            params=resolved(params),
            metrics={"images_drawn": read_json(strength).get("images")},
            figures=[params.out / "plots" / "strength.png"],
            tables=[path for path in [params.out / "curve.csv"] if path.exists()],
            files=[*made_by.files, params.out / "report.html", strength],
            tags={"concept": ", ".join(params.concepts), "verdict": said.outcome, **links, **made_by.tags},
            content_hash=digest_of(["infeasible", {name: each.outputs for name, each in records.items()}]),
            description=f"## {said.title}\n\n{said.why}",
        )
    )
