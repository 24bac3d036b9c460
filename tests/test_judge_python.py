"""The judge that is a Python function, and the panel of YAML specifications."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tverase.errors import ConfigError
from tverase.judges.base import Judge, about, met, shows
from tverase.registry import built

SOURCE = """
import torch

def mean(images):
    bright = (images.mean((1, 2, 3)) + 1) / 2
    return torch.stack([bright, 1 - bright], 1)

mean_labelled = lambda images: mean(images)
mean_labelled.labels = ("bright", "dark")

def mapping(images):
    scores = mean(images)
    return {"bright": scores[:, 0].tolist(), "dark": scores[:, 1].numpy()}

def red(images):
    return ((images[:, 0].mean((1, 2)) + 1) / 2)[:, None]

def fails(images):
    raise ValueError("no images today")

def large(images):
    return 3 * mean(images)

def nan(images):
    return mean(images) * float("nan")

NUMBER = 3
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module in the current folder, which is not on the path."""
    path = tmp_path / "judges_of_mine.py"
    path.write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [p for p in __import__("sys").path if p not in ("", ".")])
    monkeypatch.delitem(__import__("sys").modules, "judges_of_mine", raising=False)
    return path


LIGHTS = torch.stack([torch.full((3, 8, 8), value) for value in (0.9, -0.9, 0.1)])


def opened(function: str, **more: Any) -> Judge:
    judge: Judge = built("judge", {"kind": "python", "function": f"judges_of_mine:{function}", **more}).open()
    return judge


def test_a_function_and_labels() -> None:
    judge = opened("mean", labels=["bright", "dark"], accuracy=0.97)
    assert shows(judge, LIGHTS, "bright").tolist() == [True, False, True]
    assert met(judge, LIGHTS, [["dark"], ["dark"], ()]).tolist() == [False, True, True]
    assert judge.name.startswith("judges_of_mine:mean/")
    assert about(judge)["accuracy"] == 0.97


def test_the_short_form_finds_the_labels(module: Path) -> None:
    for function in ("mapping", "mean_labelled"):
        plugin = built("judge", f"python:judges_of_mine:{function}")
        judge = plugin.open()
        assert judge.labels == ("bright", "dark")
        assert shows(judge, LIGHTS, "dark").tolist() == [False, True, False]
        assert plugin.files() == {"python": module}


def test_the_version_is_that_of_the_source(module: Path) -> None:
    before = opened("mapping").name
    module.write_text(SOURCE + "\n# changed\n")
    assert opened("mapping").name != before


def test_a_threshold_with_a_label_for_the_rest() -> None:
    judge = opened("red", labels=["red"], rest="other", threshold=0.6)
    assert judge.labels == ("red", "other")
    assert shows(judge, LIGHTS, "red").tolist() == [True, False, False]
    assert shows(judge, LIGHTS, "other").tolist() == [False, True, True]
    assert judge.scores(LIGHTS).sum(1).tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize(
    ("function", "more", "said"),
    [
        ("absent", {"labels": ["a", "b"]}, "AttributeError"),
        ("NUMBER", {"labels": ["a", "b"]}, "is a int; expected a function"),
        ("mean", {}, "the labels of judges_of_mine:mean are not known; give `labels`"),
        ("fails", {}, r"judges_of_mine:fails failed on \(1, 3, 64, 64\) \(ValueError: no images today\)"),
        ("red", {"labels": ["a"], "rest": "b"}, "the label 'b' for all other images needs a threshold"),
    ],
)
def test_a_function_that_cannot_be_used(function: str, more: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        opened(function, **more)


@pytest.mark.parametrize(
    ("function", "labels", "said"),
    [
        ("mean", ["a", "b", "c"], r"scores of shape \(3, 2\) for 3 images and 3 labels; expected \(3, 3\)"),
        ("large", ["a", "b"], "a score of 2.85; expected scores from 0 to 1"),
        ("nan", ["a", "b"], "a score of nan"),
        ("mapping", ["bright", "grey"], "returned no scores of 'grey'; it returned: bright, dark"),
        ("fails", ["a", "b"], r"failed on \(3, 3, 8, 8\) \(ValueError: no images today\)"),
    ],
)
def test_answers_that_are_no_scores(function: str, labels: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        opened(function, labels=labels).scores(LIGHTS)


@pytest.mark.parametrize("function", ["nothing", "a:", ":b", ""])
def test_a_function_is_named_with_its_module(function: str) -> None:
    with pytest.raises(ConfigError, match="expected module:function"):
        built("judge", {"kind": "python", "function": function})


def test_a_module_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="no_such_module:f cannot be imported"):
        built("judge", "python:no_such_module:f").open()


def test_no_image_has_no_scores() -> None:
    assert opened("mapping").scores(LIGHTS[:0]).shape == (0, 2)


def test_a_panel_of_specifications(module: Path) -> None:
    other = {
        "kind": "python",
        "function": "judges_of_mine:red",
        "labels": ["bright"],
        "rest": "dark",
        "threshold": 0.56,
    }
    plugin = built("judge", {"kind": "panel", "judges": ["python:judges_of_mine:mapping", other]})
    judge = plugin.open()
    assert plugin.files() == {"python/0": module, "python/1": module}
    assert shows(judge, LIGHTS, "bright").tolist() == [True, False, True]
    assert met(judge, LIGHTS, [["bright"]] * 3).tolist() == [True, False, False]
    assert about(judge)["disagreement"] == {"images": 6, "split": 2}
    with pytest.raises(ConfigError, match=r"judge panel: judges = .*at least 2 items"):
        built("judge", {"kind": "panel", "judges": ["embedded"]})
    with pytest.raises(ConfigError, match="unknown judge 'embeded'"):
        built("judge", {"kind": "panel", "judges": ["embeded", "probe"]}).open()


def test_judges_by_label_from_specifications(module: Path) -> None:
    red = {"kind": "python", "function": "judges_of_mine:red", "labels": ["red"], "rest": "other", "threshold": 0.6}
    plugin = built("judge", {"kind": "by-label", "judges": {"light": "python:judges_of_mine:mapping", "tint": red}})
    judge = plugin.open()
    assert plugin.files() == {"light/python": module, "tint/python": module}
    assert dict(judge.axes) == {"light": ("bright", "dark"), "tint": ("red", "other")}
    assert met(judge, LIGHTS, [["bright", "red"], ["dark", "red"], ["bright", "other"]]).tolist() == [True, False, True]
