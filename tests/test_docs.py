"""The pages: links lead somewhere, the README is short, and its concept file is valid."""

import re
from pathlib import Path

import pytest
import yaml

from tverase.concepts.resolve import resolve
from tverase.config import Params

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "infra" / "README.md"]


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", text_of(page), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)) if "://" not in link]
    for link in links:
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
    named = {name for name in re.findall(r"\bdocs/[\w-]+\.md", text_of(page)) if not (ROOT / name).exists()}
    assert named == set()


def test_the_pages_are_linked_from_the_readme_or_from_each_other() -> None:
    linked = {name for page in PAGES for name in re.findall(r"\b([\w-]+\.md)", text_of(page))}
    assert {page.name for page in (ROOT / "docs").glob("*.md")} <= linked


def test_the_readme_is_short() -> None:
    assert len(text_of(ROOT / "README.md").split()) <= 700


def test_the_concept_file_of_the_readme_is_valid(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", text_of(ROOT / "README.md"), re.S)
    assert len(block.splitlines()) <= 12
    path = tmp_path / "van-gogh.yaml"
    path.write_text(block)
    assert resolve(str(path)).concepts[0].label == "van gogh painting"


def test_choosing_the_strength_names_the_images_and_shares_of_the_settings() -> None:
    text = text_of(ROOT / "docs" / "choosing-strength.md")
    rows = re.findall(r"^\| 2\. .*? \| (.*?) \| (\d+) to (\d+) images .*? (none|one recovery) is allowed", text, re.M)
    assert len(rows) == 3
    for given, needed, most, allowed in rows:
        settings = Params.parse({} if given == "nothing" else yaml.safe_load(given.strip("`"))).choose_strength
        assert (settings.needed, settings.most) == (int(needed), int(most))
        assert settings.lost(1 if allowed == "none" else 2, settings.limit)
        assert not settings.lost(0 if allowed == "none" else 1, settings.limit)
    shares = ", ".join(f"{100 * share:g}%" for share in Params().choose_strength.shares)
    assert shares.replace("%, 50%", "% and 50%") + " of the teacher strength" in text
