"""What the Prefect UI shows of a run: a summary, a table, and the pages of MLflow, whose server shows the report as well."""

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
    """A markdown summary under the verdict, a table of the steps, a link to the MLflow run."""
    key = params.name.replace("+", "-").lower()
    metrics = read_json(params.out / "metrics.json")
    recovery = "\n".join(f"| by {kind} | {rate:.1%} |" for kind, rate in metrics["recovery"].items())
    retain = metrics["retain"]
    text = (
        f"# {_first(answer)}\n\n{answer.why}\n\nStrength alpha {metrics['alpha']:g}.\n\n"
        f"| input | draws the concept |\n|---|---|\n{recovery}\n\n"
        f"Retain accuracy: {retain['base']:.1%} before, {retain['erased']:.1%} after.\n\n"
        f"Registered as `{registration.uri}`, version {registration.version}"
        f"{'' if answer.proved else ', without an alias, because it is not proved'}."
    )
    _create(key, text, records, registration.run_url, report, answer)


def publish_infeasible(
    params: Params, records: Mapping[str, Record], run_url: str, report: Path, answer: Verdict
) -> None:
    """The same for a search without a strength."""
    key = params.name.replace("+", "-").lower()
    text = f"# {_first(answer)}\n\n{answer.why}\n\nNo model was written and none was registered."
    _create(key, text, records, run_url, report, answer)


def _first(answer: Verdict) -> str:
    """The verdict in one line; an unproved one begins with it."""
    return answer.title if answer.proved else f"{answer.outcome.capitalize()}: {answer.title}"


def _create(key: str, text: str, records: Mapping[str, Record], run_url: str, report: Path, answer: Verdict) -> None:
    """The three artifacts. A browser opens no file of another machine, so without a server the report is a path."""
    where = f"[report.html]({run_url}/artifacts/report.html)" if run_url else f"`{report.resolve()}`"
    summary = f"{text}\n\nThe whole report: {where}"
    create_markdown_artifact(key=f"erase-{key}-summary", markdown=summary, description=_first(answer))
    rows = [
        {"step": n, "seconds": r.seconds, "reused": r.reused, "evaluations": r.evaluations} for n, r in records.items()
    ]
    create_table_artifact(key=f"erase-{key}-steps", table=rows, description="The steps of this run")
    if run_url:
        create_link_artifact(key=f"erase-{key}-mlflow", link=run_url, link_text="MLflow run")
