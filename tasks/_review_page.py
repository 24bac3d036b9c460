"""What a reviewer is told of a version: its figures as tags, and its page as markdown. Nothing here talks to MLflow."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tverase.concepts import slug
from tverase.report.verdict import Verdict
from tverase.report.words import interval, percent, points, rank, spoken_kind

Summary = Mapping[str, Any]  # evaluation.json
SHOWN = 3  # pictures of the worst inputs
LISTED = 6  # rows of a table
LONGEST = 5000  # characters that the registry's database keeps of a description
GAP = 3 * "\N{NO-BREAK SPACE}"
CUT = "\n\n(cut; see report.html)"


@dataclass(frozen=True)
class Figures:
    """The few numbers that decide. Every upper bound is the one that the verdict goes by."""

    worst_upper: float  # over all inputs
    worst_input: str
    retain_loss: float
    retain_lower: float
    retain_upper: float

    def tags(self) -> dict[str, str]:
        """As tags of fixed width, so that they can be compared as text."""
        return {
            "worst_upper": f"{self.worst_upper:.4f}",
            "worst_input": self.worst_input,
            "retain_loss": f"{self.retain_loss:.4f}",
            "retain_lower": f"{self.retain_lower:.4f}",
            "retain_upper": f"{self.retain_upper:.4f}",
        }


def figures(summary: Summary) -> Figures:
    """The figures of an evaluation. Held-out embeddings have one bound together, every other input has its own."""
    ordered = worst_rows(summary, len(summary["rows"]))
    bounds = [(float(row["erased"]["high"]), _named(row)) for row in ordered if row["kind"] != "inversion"]
    for concept, worst in summary["worst"].items():
        if worst["input"] is not None:
            named = f"{concept}: {spoken_kind('inversion')} {worst['input']}"
            bounds.append((float(worst["all_inputs_high"]), named))
    upper, name = max(bounds, key=lambda one: one[0], default=(1.0, "no input was tried"))
    both = summary["retain"]["all"]
    return Figures(upper, name, float(both["loss"]), float(both["loss_low"]), float(both["loss_high"]))


def worst_rows(summary: Summary, count: int = LISTED) -> list[Mapping[str, Any]]:
    """The inputs that recover a concept most often, worst first."""
    return sorted(summary["rows"], key=rank, reverse=True)[:count]


def losses(summary: Summary, count: int = LISTED) -> list[tuple[str, Mapping[str, Any]]]:
    """The labels of the retain set that lost most, worst first, each with its pair of rates."""
    axes = summary["retain"]["axes"].values()
    found = [(label, pair) for axis in axes for label, pair in axis["by_label"].items() if pair["loss"] > 0]
    return sorted(found, key=lambda one: one[1]["loss"], reverse=True)[:count]


def worst_pictures(summary: Summary, folder: Path) -> list[Path]:
    """The sheets of the worst inputs and of the retain set, as the report's step has written them."""
    names = [*(_picture(row) for row in worst_rows(summary, SHOWN)), "retain-set.png"]
    return [path for name in dict.fromkeys(names) if (path := folder / name).exists()]


def page(
    answer: Verdict,
    summary: Summary,
    pictures: Sequence[Path],
    hashes: Mapping[str, str],
    champion: Mapping[str, str],
) -> str:
    """The description of a version. champion: the tags of the current one and its `version`, or nothing.

    Targets `run:/NAME` and `image:/NAME` stand for files of the run, whose address is not known yet.
    """
    parts = [
        f"## {cell(answer.title)}\n\n{cell(answer.why)}",
        _table(["figure", "value"], _figures(figures(summary))),
        "[report](run:/report.html) · [evaluation.json](run:/evaluation.json) · [params.yaml](run:/params.yaml) · "
        "[lineage.json](run:/lineage.json)",
        "### Worst inputs\n\n" + _table(["input", "base", "erased", "95% interval"], _inputs(summary)),
        "\n\n".join(f"{cell(path.stem)}: base above, erased below\n\n{_picture_link(path)}" for path in pictures),
        _lost(summary),
        _beside(figures(summary), champion),
        "### Hashes\n\n" + _table(["of", "sha256"], [(name, f"`{digest[:16]}`") for name, digest in hashes.items()]),
    ]
    text = "\n\n".join(part for part in parts if part)
    return text if len(text) <= LONGEST else _cut(text)


def _cut(text: str) -> str:
    """Whole lines only."""
    return text[: LONGEST - len(CUT)].rpartition("\n")[0] + CUT


def cell(text: object) -> str:
    """A text that neither ends a cell of a table nor starts an element of HTML."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


def _figures(found: Figures) -> Iterator[tuple[str, str]]:
    yield "recovery, upper bound over all inputs", f"{percent(found.worst_upper)} ({found.worst_input})"
    yield (
        "retain loss, points",
        f"{points(found.retain_loss)} ({points(found.retain_lower)} to {points(found.retain_upper)})",
    )


def _inputs(summary: Summary) -> Iterator[tuple[str, ...]]:
    for row in worst_rows(summary):
        base, erased = row["base"], row["erased"]
        counts = (f"{bound['successes']} of {bound['trials']}" for bound in (base, erased))
        yield _named(row), *counts, interval(erased)


def _lost(summary: Summary) -> str:
    rows = [
        (label, percent(pair["base"]["rate"]), percent(pair["erased"]["rate"]), str(pair["erased"]["trials"]))
        for label, pair in losses(summary)
    ]
    head = "### What was lost\n\n"
    return head + (_table(["label", "base", "erased", "images"], rows) if rows else "No label of the retain set lost.")


def _beside(mine: Figures, champion: Mapping[str, str]) -> str:
    if not champion:
        return "### The current champion\n\nThere is none."
    rows = [(name, champion.get(name, "not recorded"), value) for name, value in mine.tags().items()]
    head = f"### Beside the champion, version {champion['version']}\n\n"
    return head + _table(["figure", "champion", "this version"], rows)


def _table(head: Sequence[str], rows: Iterator[tuple[str, ...]] | Sequence[tuple[str, ...]]) -> str:
    between = f"{GAP}|"  # MLflow's tables leave no space between two columns
    lines = [f"|{between.join(map(cell, row))}|" for row in rows]
    return "\n".join([f"|{between.join(head)}|", "|---" * len(head) + "|", *lines])


def _named(row: Mapping[str, Any]) -> str:
    return f"{row['concept']}: {spoken_kind(row['kind'])} {row['input']}"


def _picture(row: Mapping[str, Any]) -> str:
    """The file that the report's step has written for a row."""
    return f"{slug(f'''{row['concept']} {row['kind']} {row['input'].removeprefix(row['concept'] + '/')}''')}.png"


def _picture_link(path: Path) -> str:
    return f"[![{path.stem}](image:/pictures/{path.name})](run:/pictures/{path.name})"
