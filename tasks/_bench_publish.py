"""What MLflow and the Prefect UI show of a finished table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tverase.bench.page import CELLS, PAGE, PLOTS, ROWS, TABLE
from tverase.bench.words import headline, lead, notes
from tverase.concepts import slug
from tverase.files import digest_of, sha256
from tverase.report.words import interval, percent, points

from ._records import Request, lineage
from ._tracking import record

Json = dict[str, Any]


def record_table(table: Json, files: Mapping[str, Path], links: Mapping[str, str], experiment: str) -> tuple[str, str]:
    """One MLflow run for each content of the table, with page, JSON, CSV and figures; its id and its page."""
    request = Request(
        experiment=experiment,
        run_name=f"bench-{slug('-'.join(table['concepts']))}",
        content_hash=digest_of(sha256(files[TABLE])),
        description=text_of(table),
        params={"concepts": table["concepts"], "seeds": table["seeds"], "budget": table["budget"]},
        metrics={slug(row["name"]): _numbers(row) for row in table["rows"]},
        figures=[files[name] for name in PLOTS],
        tables=[files[CELLS], files[ROWS]],
        files=[files[PAGE], files[TABLE]],
        tags={**lineage(Path.cwd()), **links, "judges": ", ".join(judge["name"] for judge in table["judges"])},
    )
    return record(request)


def _numbers(row: Json) -> Json:
    worst, losses = row["recovery"] or {}, {name: (row["retain"][name] or {}).get("loss") for name in row["retain"]}
    return {"worst_recovery": worst.get("rate"), **{f"loss_{name}": loss for name, loss in losses.items()}}


def text_of(table: Json) -> str:
    """The first lines of the page, as markdown."""
    return "\n\n".join([f"# {headline(table)}", *(text for text in lead(table) if text), *notes(table)])


def publish_table(table: Json, page: Path, run_url: str) -> None:
    """A markdown summary and the rows as a table, in the Prefect UI."""
    from prefect.artifacts import create_markdown_artifact, create_table_artifact

    key = f"bench-{slug('-'.join(table['concepts']))}"
    where = f"[{page.name}]({run_url}/artifacts/{page.name})" if run_url else f"`{page.resolve()}`"
    create_markdown_artifact(key=f"{key}-summary", markdown=f"{text_of(table)}\n\nThe page: {where}")
    create_table_artifact(key=f"{key}-rows", table=[_line(row) for row in table["rows"]])


def _line(row: Json) -> Json:
    worst = row["recovery"]
    losses = {f"loss {name}": points(one["loss"]) if one else "" for name, one in row["retain"].items()}
    recovery = {"worst recovery": percent(worst["rate"]), "95% interval": interval(worst)} if worst else {}
    return {"row": row["name"], **recovery, **losses, "not beaten": row["front"]}
