"""The report: one file that needs nothing else, says what was measured, and survives every odd outcome."""

import csv
import re
from base64 import b64decode
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image

from tverase.bounds import Bound
from tverase.concepts import concept, controls
from tverase.evaluate import Control, Row, metrics, summary
from tverase.inversion.sets import Found, by_bin
from tverase.report.facts import Facts
from tverase.report.html import render, write_report
from tverase.report.pictures import data_uri, pair_sheet, strip, write_sheets
from tverase.report.plots import figures, write_plots
from tverase.report.tables import write_tables
from tverase.report.verdict import by_hand, verdict
from tverase.strength import StrengthCurve
from tverase.strength import Tested as Trialled
from tverase.world.vocabulary import vocabulary

BINS = ((-0.2, 0.0), (0.4, 0.6))
# A world of sixteen objects, so that figures and tables are quick to draw.
WORDS = vocabulary().model_copy(update={"objects": dict(list(vocabulary().objects.items())[:16])})


def pictures(seed: int, count: int = 2, size: int = 8) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 3, size, size), generator=rng, dtype=torch.uint8)


def embeddings(names: Sequence[str], *, accepted: bool = True) -> Iterator[tuple[str, Found]]:
    for role in ("tune", "validate", "report"):
        for name in names:
            for i, (low, high) in enumerate(BINS):
                hits = 9 if accepted else 1
                yield role, Found(f"{name}/{role}/{i}", name, low, high, (low + high) / 2, hits, 10, accepted)


def rows(names: Sequence[str], inversions: Sequence[tuple[str, Found]], hits: int) -> Iterator[Row]:
    blank = torch.zeros(0)
    for name in names:
        for rung in concept(name, WORDS).rungs:
            yield Row(name, rung, "6 prompts", Bound(57, 60), Bound(0, 60), blank, blank)
        for role, item in inversions:
            if role == "report" and item.concept == name and item.accepted:
                yield Row(name, "inversion", item.name, Bound(38, 40), Bound(hits, 40), blank, blank)


def control(names: Sequence[str], lost: int) -> Control:
    prompts = controls([concept(name, WORDS) for name in names], WORDS)
    seen, kept = torch.ones(len(prompts), dtype=torch.bool), torch.ones(len(prompts), dtype=torch.bool)
    kept[:lost] = False
    return Control(prompts, seen, seen, kept, seen, torch.zeros(0), torch.zeros(0))


def curve(alpha: float | None = 1.125) -> StrengthCurve:
    near = Bound(300, 320)
    frontier = [
        {"alpha": a, "name": Bound(n, 8), "worst": Bound(w, 8), "worst_input": "bomb/tune/0", "control": Bound(c, 8)}
        for a, n, w, c in ((0.0, 8, 8, 8), (0.5, 3, 6, 8), (1.0, 0, 1, 7), (1.5, 0, 0, 5))
    ]
    entries = [{k: v.as_dict() if isinstance(v, Bound) else v for k, v in entry.items()} for entry in frontier]
    tested = (
        Trialled(4.0, "tune", {"bomb/tune/0": (0, 48), "bomb/tune/1": (0, 48)}, 0.1234, True, 96),
        Trialled(1.125, "validate", {"bomb/validate/0": (1, 64), "bomb/validate/1": (0, 48)}, 0.1444, True, 112),
    )
    reason = "the smallest alpha that meets both bounds" if alpha else "at alpha 2, control falls to 60.0%"
    return StrengthCurve(alpha, reason, tested, near, near, 528, 3712, alpha or 2.0, tuple(entries))


def facts(names: Sequence[str] = ("bomb",), *, accepted: bool = True, hits: int = 0, lost: int = 4) -> Facts:
    """A made-up erasure of `names`: `hits` of 40 for every held-back embedding, `lost` unrelated images."""
    inversions = list(embeddings(names, accepted=accepted))
    lines = list(rows(names, inversions, hits))
    numbers = summary(lines, control(names, lost), [concept(name, WORDS) for name in names], WORDS)
    numbers["control"]["shown"] = ["a noto cat", "a flat car"]
    shown = {f"row/{i}/{side}": pictures(i) for i in range(len(lines)) for side in ("before", "after")}
    shown |= {f"control/{side}": pictures(99) for side in ("before", "after")}
    shown |= {f"concept/{name.replace(' ', '-')}": pictures(7, 4) for name in names}
    shown |= {f"inversion/{item.name}": pictures(3) for _, item in inversions}
    found = [{"role": role, **vars(item)} for role, item in inversions]
    bins = {role: by_bin(i for r, i in inversions if r == role) for role in ("tune", "validate", "report")}
    return Facts(
        params={
            "seed": 0,
            "concepts": list(names),
            "search_strength": {"epsilon": 0.2},
            "sampling": {"steps": 10, "guidance": 3.0},
        },
        summary=numbers,
        metrics=metrics(numbers, 1.125),
        strength=curve().as_dict(),
        inversions={"by_bin": bins, "found": found, "evaluations": 123456},
        pictures=shown,
        hashes={"tau": "ab" * 32},
        timings={"finetune": 61.25},
        cost={"finetune": 4800, "evaluate": 9600},
        judges={"objects": {"version": "object-cnn/1", "accuracy": 0.991}},
        versions={"torch": "2.13.0"},
    )


@cache
def page() -> str:
    return render(facts())


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not drawn, which is what takes long."""
    monkeypatch.setattr("tverase.report.view.svg", lambda figure: "<svg/>")


def text(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", "", html)).split())


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_needs_nothing_else() -> None:
    html = page()
    targets = re.findall(r"\b(?:src|href|action|poster)=\"([^\"]*)\"", html)
    assert len(targets) > 20
    assert all(target.startswith(("data:image/", "#")) for target in targets)
    assert not re.search(r"https?://|url\(|@import|<script|<link", html)
    assert all('alt="' in tag for tag in re.findall(r"<img[^>]*>", html))


def test_plots_on_the_page_are_svg_that_follows_the_scheme() -> None:
    drawn = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", page())
    assert len(drawn) == 5
    for content in drawn:
        svg = b64decode(content).decode()
        ElementTree.fromstring(svg)
        assert "prefers-color-scheme:dark" in svg
        assert not re.search(r"href=\"(?!#)", svg)


@pytest.mark.usefixtures("plain")
def test_says_what_was_measured() -> None:
    found = facts(hits=1)
    said = text(render(found))
    worst = found.summary["worst"]["bomb"]
    assert "bomb erased" in said
    assert "0 of 60 images (95% interval 0.0% to 6.0%)" in said
    assert f"none of them exceeds {worst['all_inputs_high']:.1%}" in said
    assert f"{100 * found.metrics['control']['loss']:.1f} points" in said
    for part in (
        "alpha 1.125",
        "object-cnn/1",
        "99.1%",
        "ab" * 32,
        "61.2",
        "9,600",
        "123,456",
        "search_strength",
        "12.3%",
    ):
        assert part in said
    assert all(name in said for name in found.summary["control"]["neighbours"])


@pytest.mark.usefixtures("plain")
def test_everything_is_escaped() -> None:
    odd = "<b>x</b>"
    found = facts()
    row = {**found.summary["rows"][0], "input": odd}
    html = render(
        replace(
            found,
            params={**found.params, "concepts": [odd], odd: {odd: odd}},
            summary={**found.summary, "rows": [row, *found.summary["rows"][1:]]},
            hashes={odd: odd},
            judges={odd: {"version": odd, "accuracy": None}},
        )
    )
    assert odd not in html
    assert "&lt;b&gt;x&lt;/b&gt;" in html


def test_equal_facts_are_equal_bytes_but_for_the_timings(tmp_path: Path) -> None:
    write_report(replace(facts(), timings={"finetune": 70.0}), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page().replace("61.2", "70.0")
    write_plots(facts(), tmp_path / "a", dpi=30)
    write_plots(facts(), tmp_path / "b", dpi=30)
    assert {p.stem for p in (tmp_path / "a").iterdir()} == set(figures(facts()))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
        with Image.open(path) as image:
            image.load()
            assert image.format == "PNG"
            assert "Software" not in image.info


def test_tables_hold_every_number(tmp_path: Path) -> None:
    found = facts()
    write_tables(found, tmp_path)
    recovery = read(tmp_path / "recovery.csv")
    assert [r["input"] for r in recovery] == [r["input"] for r in found.summary["rows"]]
    assert {r["bin_low"] for r in recovery if r["rung"] == "inversion"} == {"-0.2", "0.4"}
    strength = read(tmp_path / "strength.csv")
    ends = [f"{key}{end}" for key in ("name", "worst", "control") for end in ("", "_low", "_high")]
    assert list(strength[0]) == ["alpha", *ends]
    assert [float(r["alpha"]) for r in strength] == [0.0, 0.5, 1.0, 1.5]
    assert float(strength[1]["worst"]) == 0.75
    control_rows = read(tmp_path / "control.csv")
    assert len([r for r in control_rows if r["group"] == "object"]) == len(WORDS.names) - 1
    assert {r["name"] for r in control_rows if r["neighbour"] == "True"} == set(found.summary["control"]["neighbours"])
    assert len(read(tmp_path / "inversions.csv")) == 6
    assert [r["safe"] for r in read(tmp_path / "search.csv")] == ["True", "True"]


def test_tables_of_an_unfinished_search_have_headers_only(tmp_path: Path) -> None:
    write_tables(replace(facts(accepted=False), strength=StrengthCurve(None, "searching").as_dict()), tmp_path)
    assert read(tmp_path / "strength.csv") == []
    assert (tmp_path / "search.csv").read_text(encoding="utf-8").startswith("step,alpha,")


@pytest.mark.usefixtures("plain")
def test_images_that_still_show_the_concept_are_ringed() -> None:
    assert 'class="hit"' not in page()
    # Two embeddings bring it back once each: in their rows and among the worst.
    assert render(facts(hits=1)).count('class="hit"') == 4


@pytest.mark.parametrize(
    ("changes", "outcome", "title"),
    [
        ({}, "erased", "bomb erased"),
        ({"hits": 4}, "unconfirmed", "bomb erased, not confirmed"),
        ({"hits": 30}, "refuted", "bomb not erased"),
        ({"lost": 60}, "refuted", "bomb not erased"),
        ({"lost": 14}, "unconfirmed", "bomb erased, not confirmed"),
        ({"accepted": False}, "untested", "bomb erased, tested by prompts only"),
    ],
)
def test_the_headline_claims_no_more_than_was_seen(changes: dict[str, Any], outcome: str, title: str) -> None:
    found = verdict(facts(**changes))
    assert (found.outcome, found.title) == (outcome, title)


@pytest.mark.usefixtures("plain")
def test_infeasible_is_a_verdict_with_its_reason() -> None:
    found = replace(facts(), strength=curve(None).as_dict())
    said = text(render(found))
    assert "bomb not erased: infeasible" in said
    assert "at alpha 2, control falls to 60.0%" in said
    assert "measured at alpha 1.125, which is no solution" in said
    nothing = {**found.metrics, "alpha": None}
    bare = replace(curve(None), tested=(), frontier=(), control=None, base_control=None, safe_alpha=None)
    assert "infeasible" in render(replace(found, metrics=nothing, strength=bare.as_dict()))


def test_alpha_by_hand_is_judged_by_the_evaluation_alone() -> None:
    found = replace(facts(), strength=curve(None).as_dict())
    found = replace(found, params={**found.params, "erase": {"alpha": 1.125}})
    assert verdict(found).outcome == "erased"
    assert by_hand(found)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("names", [("bomb", "slot machine"), ("noto",)])
def test_other_concepts(names: tuple[str, ...], tmp_path: Path) -> None:
    found = facts(names)
    assert f"{' and '.join(names)} erased" in text(render(found))
    write_tables(found, tmp_path)
    assert {r["concept"] for r in read(tmp_path / "recovery.csv")} == set(names)


@pytest.mark.usefixtures("plain")
def test_an_empty_frontier_no_embeddings_and_no_pictures(tmp_path: Path) -> None:
    found = facts(accepted=False)
    found = replace(
        found,
        strength={**found.strength, "frontier": ()},
        inversions={"by_bin": {}, "found": [], "evaluations": 0},
        pictures={},
        hashes={},
        timings={},
        cost={},
        judges={},
        versions={},
    )
    assert "No embedding was searched." in render(found)
    write_sheets(found, tmp_path)
    assert list(tmp_path.iterdir()) == []


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
