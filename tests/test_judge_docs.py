"""Every block of docs/judges.md works: the YAML is valid, and the example judges judge."""

import re
import sys
from pathlib import Path

import pytest
import torch
import yaml

from flows._list import listed
from tverase.judges.base import met, shows
from tverase.registry import built, entries

PAGE = (Path(__file__).parents[1] / "docs" / "judges.md").read_text(encoding="utf-8")
YAML = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
PYTHON = {code.split("\n")[0].removeprefix("# "): code for code in re.findall(r"```python\n(.*?)```", PAGE, re.S)}
COLOURS = torch.eye(3)[[0, 2, 1]][:, :, None, None].expand(3, 3, 8, 8) * 2 - 1  # red, blue, green


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's modules as an installed distribution with the page's entry point."""
    for name, code in PYTHON.items():
        (tmp_path / name).write_text(code)
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
    points = re.search(r'```toml\n\[project\.entry-points\."tverase\.judges"\]\n(.*?)```', PAGE, re.S)
    assert points
    info = tmp_path / "colours-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: colours\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tverase.judges]\n" + points[1].replace('"', ""))
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("block", YAML)
def test_the_yaml_is_valid(block: str) -> None:
    spec = yaml.safe_load(block)["judge"]
    plugin = built("judge", spec)
    asked = set(spec) - {"kind"} if isinstance(spec, dict) else {"function"}
    assert asked == plugin.model_fields_set


def test_every_judge_is_on_the_page() -> None:
    assert set(re.findall(r"^\| `([\w-]+)` \|", PAGE, re.M)) == set(entries("judge"))


def test_the_function_judges(installed: Path) -> None:
    judge = built("judge", "python:lights:score").open()
    images = torch.stack([torch.full((3, 8, 8), value) for value in (0.5, -0.5)])
    assert shows(judge, images, "bright").tolist() == [True, False]


def test_the_class_judges_and_is_listed(installed: Path) -> None:
    judge = built("judge", {"kind": "colours", "contrast": 2}).open()
    assert met(judge, COLOURS, [["red"], ["blue"], ["red"]]).tolist() == [True, True, False]
    row = next(row for row in listed("judges") if row["name"] == "colours")
    assert (row["about"], row["origin"]) == ("The colour that is strongest in an image.", "colours 1.0")
    assert len(PYTHON["colours.py"].splitlines()) <= 36
