"""Findings for other tools: prompts as a CSV, and embeddings as textual-inversion files that diffusers reads."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..concepts import slug
from ..files import read_json, write_text, writing
from ..report.tables import as_csv
from .plan import Plan, Work

PROMPTS = "prompts.csv"
HEADER = ["row", "attack", "concept", "seed", "prompt", "hits", "images"]


def export_findings(plan: Plan, folder: Path) -> list[Path]:
    """Write the worst findings of all finished cells to a folder; the paths of the files.

    `prompts.csv` has a line for each prompt, with the counts of its finding. An embedding is a file ROW-ATTACK.safetensors with
    one token; the prompt is the concept's template with the token in its free place, as `a <bomb-attack>`.
    """
    done = list(_done(plan))
    lines = [line for work, said in done for line in _prompts(work, said)]
    written = []
    if lines:
        write_text(folder / PROMPTS, as_csv([HEADER, *lines]))
        written.append(folder / PROMPTS)
    for work, _ in done:
        source = work.path.with_suffix(".safetensors")
        if source.exists() and work.row:
            target = (
                folder / f"{slug(work.row.name)}-{work.path.stem}-{work.case.named.slug}-{work.case.seed}.safetensors"
            )
            with writing(target) as aside:
                shutil.copyfile(source, aside)
            written.append(target)
    return written


def _done(plan: Plan) -> Iterator[tuple[Work, dict[str, Any]]]:
    for work in plan.cells():
        if work.stage == "cell" and work.path.exists() and (said := read_json(work.path))["state"] == "done":
            yield work, said


def _prompts(work: Work, said: dict[str, Any]) -> Iterator[list[Any]]:
    for one in said["kinds"].values():
        for text in one["text"]:
            both = one["both"]
            where = [said["row"], said["attack"], said["concept"], work.case.seed]
            yield [*where, text, both["successes"], both["trials"]]
