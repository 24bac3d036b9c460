"""The tables and sheets beside the report: every number, in columns that other tools know."""

from dataclasses import replace
from pathlib import Path

import torch
from made_up import WORDS, facts, pictures, read
from PIL import Image

from tverase.report.pictures import data_uri, pair_sheet, strip, write_sheets
from tverase.report.tables import write_tables


def test_tables_hold_every_number(tmp_path: Path) -> None:
    found = facts()
    write_tables(found, tmp_path)
    recovery = read(tmp_path / "recovery.csv")
    assert [r["input"] for r in recovery] == [r["input"] for r in found.summary["rows"]]
    assert {r["bin_low"] for r in recovery if r["kind"] == "inversion"} == {"-0.2", "0.4"}
    strength = read(tmp_path / "strength.csv")
    assert [(r["alpha"], r["role"], r["passes"]) for r in strength] == [
        *2 * [("2.0", "tune", "True")],
        *2 * [("1.125", "confirm", "True")],
        *2 * [("0.75", "confirm", "False")],
    ]
    assert [r["successes"] for r in strength] == ["0", "2", "1", "0", "6", "0"]
    retain = read(tmp_path / "retain.csv")
    assert len([r for r in retain if r["group"] == "object"]) == len(WORDS.names) - 1
    assert {r["name"] for r in retain if r["neighbour"] == "True"} == set(found.summary["retain"]["neighbours"])
    assert len(read(tmp_path / "inversions.csv")) == 6


def test_tables_of_an_unfinished_search_have_headers_only(tmp_path: Path) -> None:
    write_tables(replace(facts(accepted=False), strength={"alpha": None}, hardening={}), tmp_path)
    assert read(tmp_path / "strength.csv") == read(tmp_path / "hardening.csv") == []
    assert (tmp_path / "strength.csv").read_text(encoding="utf-8").startswith("alpha,role,")


def test_strips_and_sheets(tmp_path: Path) -> None:
    images = pictures(0, 3, 8)
    assert strip(images, gap=2).shape == (4, 8, 28)
    assert torch.equal(strip(images, gap=2)[:3, :, 10:18], images[1])
    assert pair_sheet(images, images, gap=2).shape == (4, 18, 28)
    assert data_uri(images[0]).startswith("data:image/png;base64,")
    assert data_uri(pictures(0, 1, 512)[0]).startswith("data:image/webp;base64,")
    found = facts()
    assert found.summary["rows"][4]["input"] == "bomb/report/1"
    write_sheets(found, tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == {
        "bomb-name-6-prompts",
        "bomb-synonyms-6-prompts",
        "bomb-compositions-6-prompts",
        "bomb-inversion-report-0",
        "bomb-inversion-report-1",
        "retain-set",
    }
    with Image.open(tmp_path / "bomb-name-6-prompts.png") as sheet:
        assert sheet.size == (2 * 96 + 6, 2 * 96 + 6)
