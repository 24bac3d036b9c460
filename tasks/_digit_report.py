"""Report and MLflow run of the digit experiment, from what its steps left."""

from pathlib import Path

from tverase.config import Params
from tverase.errors import DataError
from tverase.files import digest_of, read_json, read_tensors
from tverase.judges.cnn import CnnJudge
from tverase.report.digit_facts import DigitFacts, called
from tverase.report.digit_view import write_digit_report

from ._all import DIGIT_STEPS
from ._digits import JUDGE, home, model_folder, out
from ._lineage import origin
from ._tracking import Request, record
from .report import versions


def write(params: Params) -> Path:
    """Write the report beside the results; returns its path."""
    return write_digit_report(gather(params), out(params))


def gather(params: Params) -> DigitFacts:
    """Everything that the page shows; a `DataError` if the experiment has not run."""
    folder = out(params)
    if not (folder / "verdicts.json").exists():
        raise DataError(f"{folder} holds no verdicts yet; run `tverase digits` first.")
    verdicts = read_json(folder / "verdicts.json")
    records = {step.name: step.last(params) for step in DIGIT_STEPS}
    judge = CnnJudge.load(model_folder(params) / JUDGE)
    return DigitFacts(
        digit=verdicts["digit"],
        verdicts=verdicts["models"],
        curves=verdicts["curves"],
        strength=read_json(folder / "strength.json"),
        pictures=read_tensors(folder / "pictures.safetensors")[0],
        params=params.digits.model_dump(mode="json"),
        judge={"version": judge.name, "accuracy": judge.accuracy},
        timings={name: last.seconds for name, last in records.items() if last},
        versions=versions(),
    )


def register_run(params: Params, links: dict[str, str]) -> str:
    """Record the experiment in MLflow, once for each content; returns the run's id."""
    folder = out(params)
    records = {step.name: last for step in DIGIT_STEPS if (last := step.last(params))}
    digests = [last.outputs for last in records.values()]
    made_by = origin(params, home(params), records, [Path("digits/dvc.lock")])
    verdicts = read_json(folder / "verdicts.json")["models"]
    rows = [
        f"| {called(name, verdict)} | {max(s['rate'] for s in verdict['complexity'].values()):.1%} | "
        f"{verdict['others_all']['rate']:.1%} |"
        for name, verdict in verdicts.items()
    ]
    table = "\n".join(["| model | worst input draws it | other digits drawn |", "|---|---|---|", *rows])
    return record(
        Request(
            experiment="tverase-digits",
            run_name=home(params),
            content_hash=digest_of(digests),
            description=f"## Unconditional safety, digit {params.digits.digit}\n\n{table}",
            params=params.digits.model_dump(mode="json"),
            metrics=read_json(folder / "metrics.json"),
            figures=sorted((folder / "plots").glob("*.png")),
            tables=sorted(folder.glob("*.csv")),
            files=[*made_by.files, folder / "report.html", folder / "verdicts.json", folder / "strength.json"],
            tags={"digit": str(params.digits.digit), **links, **made_by.tags},
        )
    )
