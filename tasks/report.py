"""The report and its files, from the outputs of the other steps. Nothing depends on it."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tverase.errors import DataError
from tverase.files import read_json, read_tensors, write_json
from tverase.report.about import judge_facts, versions
from tverase.report.facts import Facts
from tverase.report.html import write_report
from tverase.report.pictures import write_sheets
from tverase.report.plots import write_plots
from tverase.report.tables import write_tables
from tverase.report.verdict import Verdict, verdict

from ._job import Job
from ._record import Record
from ._secrets import cleaned
from ._step import Step

if TYPE_CHECKING:
    from tverase.config import Params

REPORTED = (
    "make_images",
    "finetune",
    "build_vector",
    "invert",
    "select",
    "harden",
    "choose_strength",
    "erase",
    "evaluate",
)


def write(params: "Params", *, force: bool = False) -> Path:
    """report.html, verdict.json, plots/, pictures/ and tables/ beside the other results; returns the report's path."""
    if not (params.out / "metrics.json").exists():
        raise DataError(f"{params.out} holds no evaluation yet; run `tverase run` first.")
    STEP.execute(params, force=force)
    return STEP.outputs(params)["report"]


def last_verdict(params: "Params") -> Verdict:
    """What the report that was written last says first."""
    return Verdict(**read_json(STEP.outputs(params)["verdict"]))


def run(job: Job) -> None:
    """One page, and its plots, tables and pictures as files."""
    facts = gather(job.inputs)
    write_plots(facts, job.outputs["plots"])
    write_tables(facts, job.outputs["tables"])
    write_sheets(facts, job.outputs["pictures"])
    write_json(job.outputs["verdict"], asdict(verdict(facts)))
    write_report(facts, job.outputs["report"])


def gather(inputs: Mapping[str, Path]) -> Facts:
    """Everything that the report shows. Parameters, hashes and costs are those of the records: what made this result."""
    images, _ = read_tensors(inputs["images"])
    pictures, _ = read_tensors(inputs["evaluation"] / "pictures.safetensors")
    inversions, _ = read_tensors(inputs["inversions"] / "pictures.safetensors")
    pictures |= {f"inversion/{name}": drawn for name, drawn in inversions.items()}
    pictures |= {f"concept/{k.partition('/')[2]}": v for k, v in images.items() if k.startswith("shown/")}
    records = {name: _record(name, inputs[f"record/{name}"]) for name in REPORTED}
    return Facts(
        params=cleaned(params_of(records.values())),
        summary=read_json(inputs["evaluation"] / "evaluation.json"),
        metrics=read_json(inputs["metrics"]),
        strength=read_json(inputs["strength"]),
        hardening=read_json(inputs["hardening"]),
        inversions=read_json(inputs["inversions"] / "index.json"),
        pictures=pictures,
        hashes={path: digest for record in records.values() for path, digest in record.outputs.items()},
        timings={name: record.seconds for name, record in records.items()},
        cost={name: record.evaluations for name, record in records.items()},
        judges=judge_facts(read_json(inputs["evaluation"] / "evaluation.json")["judge"]),
        versions=versions(),
    )


def _record(name: str, path: Path) -> Record:
    found = Record.read(path)
    if found is None or not found.true():
        raise DataError(f"{path} is damaged, so that nobody can say how {name} was run; run `tverase run` again.")
    return found


def params_of(records: Any) -> dict[str, Any]:
    """The parameters that the recorded steps were run with; a concept by its name."""
    found: dict[str, Any] = {}
    for record in records:
        found |= record.params
    return {**found, "concepts": [concept["name"] for concept in found.get("concepts", ())]}


STEP = Step(
    name="report",
    sections=(),
    inputs=lambda params: {
        "images": params.out / "images.safetensors",
        "inversions": params.out / "inversions",
        "strength": params.out / "strength.json",
        "hardening": params.out / "hardening.json",
        "evaluation": params.out / "evaluation",
        "metrics": params.out / "metrics.json",
        **{f"record/{name}": params.out / "records" / f"{name}.json" for name in REPORTED},
    },
    outputs=lambda params: {
        "report": params.out / "report.html",
        "verdict": params.out / "verdict.json",
        **{folder: params.out / folder for folder in ("plots", "tables", "pictures")},
    },
    run=run,
)
