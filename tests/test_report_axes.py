"""The report of judges of one axis, of a detector without retain labels, and of a panel."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
import torch
from made_up import facts, read

from tasks.report import judge_facts
from tverase.concepts import Prompt
from tverase.evaluation import RetainSet
from tverase.report.facts import Facts
from tverase.report.html import render
from tverase.report.plots import figures
from tverase.report.tables import write_tables
from tverase.retention import AGREEMENT
from tverase.summary import summary


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not drawn, which is what takes long."""
    monkeypatch.setattr("tverase.report.plots.svg", lambda figure: "<svg/>")


def text(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", "", html)).split())


def of_axes(how: str) -> Facts:
    """The made-up erasure, judged by one judge with a single axis, or by a detector that knows nothing of the retain set."""
    prompts = tuple(
        Prompt(f"a thing, number {i}", () if how == "agreement" else (("owl", "cat")[i % 2],)) for i in range(20)
    )
    axis = AGREEMENT if how == "agreement" else "label"
    seen, kept = torch.ones(20, dtype=torch.bool), torch.arange(20) >= 5
    made_up = RetainSet(prompts, {axis: [p.labels for p in prompts]}, {axis: seen}, {axis: kept}, seen, seen)
    found = facts()
    numbers = summary([], made_up, [])["retain"]
    return replace(found, summary={**found.summary, "retain": {**numbers, "shown": ["a", "b"]}})


@pytest.mark.usefixtures("plain")
def test_agreement_is_said_to_be_no_recognition() -> None:
    found = of_axes("agreement")
    said = text(render(found))
    assert "This is agreement, not recognition: no judge looked for what the prompt asks for." in said
    assert "agreement with the base model's image20100.0%75.0%25.0" in said
    assert set(figures(found)) == {"strength", "hardening", "recovery"}
    assert "recognition" not in text(render(facts()))
    assert "An image is right if the judge sees the object and the style that the prompt asks for." in text(
        render(facts())
    )


@pytest.mark.usefixtures("plain")
def test_a_judge_of_one_axis_has_one_total_and_one_figure(tmp_path: Path) -> None:
    found = of_axes("recognition")
    said = text(render(found))
    assert said.count("label20100.0%75.0%25.0") == 1
    assert "Labels in numbers (2)" in said
    assert set(figures(found)) == {"strength", "hardening", "recovery", "retain_label"}
    write_tables(found, tmp_path)
    rows = read(tmp_path / "retain.csv")
    assert [(r["group"], r["name"]) for r in rows] == [
        ("all", "all"),
        ("all", "label"),
        ("label", "owl"),
        ("label", "cat"),
    ]


@pytest.mark.usefixtures("plain")
def test_a_panel_tells_how_often_its_judges_disagree() -> None:
    member = {"name": "probe/1", "accuracy": 0.97, "threshold": None}
    about = {"name": "panel", "accuracy": None, "threshold": None, "members": [member]}
    judges = judge_facts({**about, "disagreement": {"images": 200, "split": 7}})
    said = text(render(replace(facts(), judges=judges)))
    assert "The judges of the panel judge disagree on 7 of 200 images (3.5%)." in said
    assert "judge, probe/1probe/1first choice97.0%" in said
    assert "disagree" not in text(render(facts()))
