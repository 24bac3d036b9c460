"""The tables and sheets beside the report: every number, in columns that other tools know."""

from dataclasses import replace
from pathlib import Path

import torch
from made_up import WORDS, curve, facts, pictures, read
from PIL import Image

from tverase.report.pictures import data_uri, pair_sheet, strip, write_sheets
from tverase.report.tables import write_tables
from tverase.strength import StrengthCurve


def test_tables_hold_every_number(tmp_path: Path) -> None:
    found = facts()
    write_tables(found, tmp_path)
    recovery = read(tmp_path / "recovery.csv")
    assert [r["input"] for r in recovery] == [r["input"] for r in found.summary["rows"]]
    assert {r["bin_low"] for r in recovery if r["kind"] == "inversion"} == {"-0.2", "0.4"}
    strength = read(tmp_path / "strength.csv")
    ends = [f"{key}{end}" for key in ("name", "worst", "control") for end in ("", "_low", "_high")]
    assert list(strength[0]) == ["alpha", *ends]
    assert [float(r["alpha"]) for r in strength] == [0.0, 0.5, 1.0, 1.5]
    assert float(strength[1]["worst"]) == 0.75
    (tmp_path / "curve.csv").write_text(curve().as_csv(), encoding="utf-8")
    assert read(tmp_path / "curve.csv") == strength
    control_rows = read(tmp_path / "control.csv")
    assert len([r for r in control_rows if r["group"] == "object"]) == len(WORDS.names) - 1
    assert {r["name"] for r in control_rows if r["neighbour"] == "True"} == set(found.summary["control"]["neighbours"])
    assert len(read(tmp_path / "inversions.csv")) == 6
    assert [r["safe"] for r in read(tmp_path / "search.csv")] == ["True", "True"]


def test_tables_of_an_unfinished_search_have_headers_only(tmp_path: Path) -> None:
    write_tables(replace(facts(accepted=False), strength=StrengthCurve(None, "searching").as_dict()), tmp_path)
    assert read(tmp_path / "strength.csv") == []
    assert (tmp_path / "search.csv").read_text(encoding="utf-8").startswith("step,alpha,")


def test_strips_and_sheets(tmp_path: Path) -> None:
    images = pictures(0, 3, 8)
    assert strip(images, gap=2).shape == (4, 8, 28)
    assert torch.equal(strip(images, gap=2)[:3, :, 10:18], images[1])
    assert pair_sheet(images, images, gap=2).shape == (4, 18, 28)
    assert data_uri(images[0]).startswith("data:image/png;base64,")
    assert data_uri(pictures(0, 1, 512)[0]).startswith("data:image/webp;base64,")
    write_sheets(facts(), tmp_path)
    with Image.open(tmp_path / "row-0.png") as sheet:
        assert sheet.size == (2 * 96 + 6, 2 * 96 + 6)
