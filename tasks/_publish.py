"""What the Prefect UI shows of a run: a summary, a table, and links."""

from pathlib import Path

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from tverase.config import Params
from tverase.files import read_json

from ._digits import home, out
from ._step import Record
from ._tracking import Registration


def publish(params: Params, records: dict[str, Record], registration: Registration, report: Path) -> None:
    """A markdown summary, a table of the steps, links to the report and to the MLflow run."""
    key = params.name.replace("+", "-").lower()
    metrics = read_json(params.out / "metrics.json")
    recovery = "\n".join(f"| by {rung} | {rate:.1%} |" for rung, rate in metrics["recovery"].items())
    control = metrics["control"]
    text = (
        f"# {', '.join(params.concepts)} at alpha {metrics['alpha']:g}\n\n| input | draws the concept |\n|---|---|\n"
        f"{recovery}\n\nControl: {control['base']:.1%} before, {control['erased']:.1%} after.\n\n"
        f"Registered as `{registration.uri}`, version {registration.version}."
    )
    create_markdown_artifact(key=f"erase-{key}-summary", markdown=text, description="What was erased, and what it cost")
    _steps_and_report(f"erase-{key}", records, report)
    if registration.run_url:
        create_link_artifact(key=f"erase-{key}-mlflow", link=registration.run_url, link_text="MLflow run")


def publish_digits(params: Params, records: dict[str, Record], report: Path) -> None:
    """The same for the digit experiment: worst input and other digits of each model."""
    numbers = read_json(out(params) / "metrics.json")
    rows = "\n".join(
        f"| {name} | {n['alpha']:g} | {n['worst']:.1%} (to {n['worst_high']:.1%}) | {n['others']:.1%} |"
        for name, n in numbers.items()
    )
    head = "| model | alpha | worst input draws it | other digits drawn rightly |\n|---|---|---|---|"
    text = f"# Digit {params.digits.digit}\n\n{head}\n{rows}"
    create_markdown_artifact(key=f"{home(params)}-summary", markdown=text, description="The worst input of each model")
    _steps_and_report(home(params), records, report)


def _steps_and_report(key: str, records: dict[str, Record], report: Path) -> None:
    rows = [
        {"step": n, "seconds": r.seconds, "reused": r.reused, "evaluations": r.evaluations} for n, r in records.items()
    ]
    create_table_artifact(key=f"{key}-steps", table=rows, description="The steps of this run")
    create_link_artifact(key=f"{key}-report", link=report.resolve().as_uri(), link_text="report.html")
