"""The report, from what the steps left. It is a view: it can be made again at any time and nothing depends on it."""

from importlib import metadata
from pathlib import Path

import torch

from tverase.config import Params
from tverase.errors import DataError
from tverase.files import read_json, read_tensors
from tverase.judges.cnn import CnnJudge
from tverase.report.facts import Facts
from tverase.report.html import write_report
from tverase.report.pictures import write_sheets
from tverase.report.plots import write_plots
from tverase.report.tables import write_tables

from ._all import chosen
from ._common import judge_paths

PACKAGES = ("tverase", "torch", "diffusers", "transformers", "prefect", "dvc", "mlflow")


def write(params: Params) -> Path:
    """Write report.html, plots/, pictures/ and tables/ beside the other results; returns the report's path."""
    facts = gather(params)
    write_plots(facts, params.out / "plots")
    write_tables(facts, params.out / "tables")
    write_sheets(facts, params.out / "pictures")
    path = params.out / "report.html"
    write_report(facts, path)
    return path


def gather(params: Params) -> Facts:
    """Everything that the report shows; a `DataError` names the step that has not run."""
    out = params.out
    if not (out / "metrics.json").exists():
        raise DataError(f"{out} holds no evaluation yet; run `tverase run` first.")
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
