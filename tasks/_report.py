"""The report, from what the steps left. It is a view: it can be made again at any time and nothing depends on it.

It has a step's machinery, so that a run that changed nothing does not draw it again, but it is no step: DVC and
`--force` do not know it.
"""

from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import torch

from tverase import report
from tverase.config import Params
from tverase.errors import DataError
from tverase.files import read_json, read_tensors, write_json
from tverase.judges.cnn import CnnJudge
from tverase.report.facts import Facts
from tverase.report.html import write_report
from tverase.report.pictures import write_sheets
from tverase.report.plots import write_plots
from tverase.report.tables import write_tables
from tverase.report.verdict import Verdict, verdict

from ._all import chosen
from ._common import judge_paths
from ._step import Job, Step

PAGE = Path(report.__file__).parent  # its templates count as much as its code
PACKAGES = ("tverase", "torch", "diffusers", "transformers", "prefect", "dvc", "mlflow")


def write(params: Params, *, force: bool = False) -> Path:
    """report.html, verdict.json, plots/, pictures/ and tables/ beside the other results; returns the report's path."""
    if not (params.out / "metrics.json").exists():
        raise DataError(f"{params.out} holds no evaluation yet; run `tverase run` first.")
    REPORT.execute(params, force=force)
    return REPORT.outputs(params)["report"]


def last_verdict(params: Params) -> Verdict:
    """What the report that was written last says first."""
    return Verdict(**read_json(REPORT.outputs(params)["verdict"]))


def _run(job: Job) -> None:
    facts = gather(job.params)
    write_plots(facts, job.outputs["plots"])
    write_tables(facts, job.outputs["tables"])
    write_sheets(facts, job.outputs["pictures"])
    write_json(job.outputs["verdict"], asdict(verdict(facts)))
    write_report(facts, job.outputs["report"])


def gather(params: Params) -> Facts:
    """Everything that the report shows."""
    out = params.out
    images, _ = read_tensors(out / "images.safetensors")
    pictures, _ = read_tensors(out / "evaluation" / "pictures.safetensors")
    inversions, _ = read_tensors(out / "inversions" / "pictures.safetensors")
    pictures |= {f"inversion/{name}": drawn for name, drawn in inversions.items()}
    pictures |= {f"concept/{k.partition('/')[2]}": v for k, v in images.items() if k.startswith("shown/")}
    records = {step.name: step.last(params) for step in chosen(params)}
    done = {name: record for name, record in records.items() if record is not None}
    judges = {name: CnnJudge.load(path) for name, path in judge_paths(params).items()}
    return Facts(
        params=params.model_dump(mode="json", by_alias=True),
        summary=read_json(out / "evaluation" / "evaluation.json"),
        metrics=read_json(out / "metrics.json"),
        strength=read_json(out / "strength.json"),
        inversions=read_json(out / "inversions" / "index.json"),
        pictures=pictures,
        hashes={path: digest for record in done.values() for path, digest in record.outputs.items()},
        timings={name: record.seconds for name, record in done.items()},
        cost={name: record.evaluations for name, record in done.items()},
        judges={name: {"version": j.name, "accuracy": j.accuracy} for name, j in judges.items()},
        versions=versions(),
    )


def versions() -> dict[str, str]:
    """What computed it: packages, and the number of threads."""
    return {name: _version(name) for name in PACKAGES} | {"threads": str(torch.get_num_threads())}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


# What it shows is named by the steps' records: they hold the sha256 of every output, the times and the costs.
REPORT = Step(
    name="report",
    sections=tuple(field.alias or name for name, field in Params.model_fields.items()),
    inputs=lambda params: {
        **{path.name: path for path in PAGE.iterdir() if path.suffix in (".py", ".j2", ".css")},
        **{s.name: s.record_path(params) for s in chosen(params) if s.record_path(params).exists()},
    },
    outputs=lambda params: {
        "report": params.out / "report.html",
        "verdict": params.out / "verdict.json",
        **{folder: params.out / folder for folder in ("plots", "tables", "pictures")},
    },
    run=_run,
    code=("tasks._report",),
)
