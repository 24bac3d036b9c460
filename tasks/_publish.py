"""What the Prefect UI shows of a run: a summary, a table, and links."""

from collections.abc import Mapping
from pathlib import Path

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from tverase.config import Params
from tverase.files import read_json
from tverase.report.verdict import Verdict

from ._record import Record
from ._tracking import Registration


def publish(
    params: Params, records: Mapping[str, Record], registration: Registration, report: Path, answer: Verdict
) -> None:
    """A markdown summary under the verdict, a table of the steps, links to the report and to the MLflow run."""
    key = params.name.replace("+", "-").lower()
    metrics = read_json(params.out / "metrics.json")
    recovery = "\n".join(f"| by {kind} | {rate:.1%} |" for kind, rate in metrics["recovery"].items())
    control = metrics["control"]
    text = (
        f"# {_first(answer)}\n\n{answer.why}\n\nStrength alpha {metrics['alpha']:g}.\n\n"
        f"| input | draws the concept |\n|---|---|\n{recovery}\n\n"
        f"Control: {control['base']:.1%} before, {control['erased']:.1%} after.\n\n"
        f"Registered as `{registration.uri}`, version {registration.version}"
        f"{'' if answer.proved else ', without an alias, because it is not proved'}."
    )
    create_markdown_artifact(key=f"erase-{key}-summary", markdown=text, description=_first(answer))
    _steps_and_report(f"erase-{key}", records, report)
    if registration.run_url:
        create_link_artifact(key=f"erase-{key}-mlflow", link=registration.run_url, link_text="MLflow run")


def publish_infeasible(params: Params, records: Mapping[str, Record], report: Path, answer: Verdict) -> None:
    """The same for a search without a strength."""
    key = params.name.replace("+", "-").lower()
    text = f"# {_first(answer)}\n\n{answer.why}\n\nNo model was written and none was registered."
    create_markdown_artifact(key=f"erase-{key}-summary", markdown=text, description=_first(answer))
    _steps_and_report(f"erase-{key}", records, report)


def _first(answer: Verdict) -> str:
    """The verdict in one line; what is not proved says so first."""
    return answer.title if answer.proved else f"{answer.outcome.capitalize()}: {answer.title}"


def _steps_and_report(key: str, records: Mapping[str, Record], report: Path) -> None:
    rows = [
        {"step": n, "seconds": r.seconds, "reused": r.reused, "evaluations": r.evaluations} for n, r in records.items()
    ]
    create_table_artifact(key=f"{key}-steps", table=rows, description="The steps of this run")
    create_link_artifact(key=f"{key}-report", link=report.resolve().as_uri(), link_text="report.html")
