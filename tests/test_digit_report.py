"""The page, figures and tables of the digit experiment, from made-up verdicts."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tverase.bounds import Bound
from tverase.complexity import certificate
from tverase.report import digit_tables
from tverase.report.digit_facts import NAMES, DigitFacts
from tverase.report.digit_view import view, write_digit_report

COMPLEXITIES = (2, 3, 4)
RATES = {"base": 58, "resteer": 30, "esd": 12, "random": 0, "repaired": 1, "true": 2}


def score(hits: int) -> dict[str, Any]:
    return {"input": [1.0, 0.0, 0.0, 0.0], **Bound(hits, 60).as_dict(), "inputs": 80, "images": 1234}


def verdict(name: str, hits: int) -> dict[str, Any]:
    return {
        "method": None if name == "base" else name,
        "alpha": 0.0 if name == "base" else 0.625,
        "complexity": {str(n): score(hits) for n in COMPLEXITIES},
        "authors": {"2": 0.95},
        "adaptive": score(hits),
        "certificate": vars(certificate(torch.zeros(100, dtype=torch.long), 10, 0.25)),
        "others": {str(d): Bound(38, 40).as_dict() for d in range(1, 10)},
        "others_all": Bound(342, 360).as_dict(),
        "evaluations": 99,
    }


@pytest.fixture
def facts() -> DigitFacts:
    point = {"worst": score(3), "others": Bound(340, 360).as_dict()}
    pictures = {
        f"{name}/{what}": torch.full((10, 3, 28, 28), 9, dtype=torch.uint8)
        for name in RATES
        for what in ("own", "worst", "others")
    }
    curves = {method: [{"alpha": a, **point} for a in (0.0, 0.5, 1.0)] for method in ("random", "true")}
    found = {"safe_alpha": 0.625, "reason": "the smallest alpha that meets both bounds"}
    return DigitFacts(
        digit=0,
        verdicts={name: verdict(name, hits) for name, hits in RATES.items()},
        curves=curves,
        strength={"vectors": {"random": found, "true": {**found, "safe_alpha": None}}, "by_bin": {}},
        pictures=pictures,
        params={"digit": 0, "sampling": {"steps": 8}},
        judge={"version": "digit-cnn/1", "accuracy": 0.99},
        timings={"digit_vectors": 12.5},
        versions={"torch": "2"},
    )


def test_the_page_needs_nothing_else_and_says_every_number(facts: DigitFacts, tmp_path: Path) -> None:
    path = write_digit_report(facts, tmp_path)
    text = path.read_text()
    assert not re.search(r"(src|href)=\"(?!#|data:)", text)
    assert "<script" not in text
    for name, hits in RATES.items():
        assert NAMES[name] in text
        assert f"{hits / 60:.1%}" in text
    assert "task vector, random labels, alpha 0.625" in text
    assert "alpha none" in text  # the other vector erases at no strength
    again = write_digit_report(facts, tmp_path / "again").read_text()
    assert again == text


def test_figures_are_pictures(facts: DigitFacts, tmp_path: Path) -> None:
    write_digit_report(facts, tmp_path)
    for name in ("complexity", "alpha"):
        with Image.open(tmp_path / "plots" / f"{name}.png") as image:
            assert len(image.convert("RGB").getcolors(1 << 20) or []) > 20


def test_losses_are_to_the_base_model(facts: DigitFacts) -> None:
    worse = {**verdict("random", 0), "others_all": Bound(324, 360).as_dict()}
    shown = view(replace(facts, verdicts={**facts.verdicts, "random": worse}))["models"]
    assert {m["key"]: m["loss"] for m in shown} == {**dict.fromkeys(RATES, "0.0"), "random": "5.0"}


def test_a_model_that_is_left_out_is_left_out_everywhere(facts: DigitFacts, tmp_path: Path) -> None:
    fewer = {name: found for name, found in facts.verdicts.items() if name != "true"}
    text = write_digit_report(replace(facts, verdicts=fewer), tmp_path).read_text()
    assert "task vector, true label, alpha" not in text


def test_tables_hold_a_row_for_each_number(facts: DigitFacts) -> None:
    scores = list(csv.DictReader(io.StringIO(digit_tables.scores(facts.verdicts))))
    assert len(scores) == len(RATES) * (len(COMPLEXITIES) + 1)
    assert {row["rate"] for row in scores if row["model"] == "resteer"} == {"0.5"}
    curves = list(csv.DictReader(io.StringIO(digit_tables.curves(facts.curves))))
    assert [row["alpha"] for row in curves] == ["0.0", "0.5", "1.0"] * 2
    others = list(csv.DictReader(io.StringIO(digit_tables.others(facts.verdicts))))
    assert len(others) == len(RATES) * 9
