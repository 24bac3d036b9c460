"""The contract of judges: first choices, judges by label, panels, and what is said of an unknown label."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tverase.errors import ConfigError, ModelError
from tverase.judges.base import NONE, about, as_judge, met, require_labels, shows, surely
from tverase.judges.by_label import ByLabel
from tverase.judges.cnn import CnnJudge
from tverase.judges.panel import Panel
from tverase.registry import built

JUDGES = Path(__file__).parents[1] / "models" / "judges"


class Reader:
    """A classifier, not a judge, of images that carry their class in their first pixel."""

    def __init__(self, name: str, channel: int, *classes: str, accuracy: float = 0.9) -> None:
        self.name, self.channel, self.classes, self.accuracy = name, channel, (*classes, NONE), accuracy
        self.calls: list[int] = []

    def probabilities(self, images: Tensor) -> Tensor:
        self.calls.append(len(images))
        return torch.nn.functional.one_hot(images[:, self.channel, 0, 0].long(), len(self.classes)).float()


def written(*pixels: tuple[int, int]) -> Tensor:
    found = torch.zeros(len(pixels), 3, 4, 4)
    found[:, :2, 0, 0] = torch.tensor(pixels, dtype=torch.float32)
    return found


def things() -> Reader:
    return Reader("things/1", 0, "bomb", "owl")


def styles() -> Reader:
    return Reader("styles/1", 1, "noto", "flat", accuracy=0.8)


def both() -> ByLabel:
    return ByLabel({"object": as_judge(things()), "style": as_judge(styles())})


DRAWN = written((0, 0), (1, 1), (2, 0), (0, 2))


def test_a_classifier_is_a_judge_by_its_first_choice() -> None:
    judge = as_judge(things())
    assert judge.labels == ("bomb", "owl", NONE)
    assert dict(judge.axes) == {"label": judge.labels}
    assert judge.threshold is None
    assert judge.sees(DRAWN, ["bomb", "bomb", NONE, "bomb"]).tolist() == [True, False, True, True]
    assert torch.equal(judge.scores(DRAWN), things().probabilities(DRAWN))
    assert as_judge(judge) is judge
    assert shows(things(), DRAWN, "bomb").tolist() == [True, False, False, True]


def test_the_cnn_judge_is_a_judge() -> None:
    judge = CnnJudge.load(JUDGES / "object.safetensors")
    images = torch.rand(5, 3, 32, 32) * 2 - 1
    first = judge.probabilities(images).argmax(1)
    assert as_judge(judge) is judge
    assert judge.sees(images, [judge.labels[i] for i in first]).all()
    assert not judge.sees(images, [judge.labels[i - 1] for i in first]).any()
    assert about(judge) == {"name": judge.name, "accuracy": judge.accuracy, "threshold": None}


def test_met_asks_for_all_labels_of_an_image() -> None:
    wanted: list[Sequence[str] | str | None] = [["bomb", "noto"], ["owl", "noto"], (), ["bomb"]]
    assert met(both(), DRAWN, wanted).tolist() == [True, False, True, True]
    assert met(both(), DRAWN, ["bomb", None, NONE, "flat"]).tolist() == [True, True, True, False]
    assert met(both(), DRAWN, [(), None, (), ()]).tolist() == [True] * 4
    assert met(things(), DRAWN[:0], []).tolist() == []


def test_nothing_wanted_asks_nobody_and_each_judge_sees_its_images_only() -> None:
    object_judge, style_judge = things(), styles()
    judge = ByLabel({"object": as_judge(object_judge), "style": as_judge(style_judge)})
    met(judge, DRAWN, [(), None, (), ()])
    assert object_judge.calls == style_judge.calls == []
    met(judge, DRAWN, [["bomb", "noto"], ["owl"], (), ["flat"]])
    assert (object_judge.calls, style_judge.calls) == ([2], [2])


def test_by_label_names_its_axes_and_its_judges() -> None:
    judge = both()
    assert dict(judge.axes) == {"object": ("bomb", "owl", NONE), "style": ("noto", "flat", NONE)}
    assert judge.labels == ("bomb", "owl", NONE, "noto", "flat")
    assert judge.name == "things/1 + styles/1"
    assert judge.accuracy == 0.8
    assert judge.of("flat").name == "styles/1"
    assert judge.of(NONE).name == "things/1"
    assert judge.scores(DRAWN).shape == (4, 5)
    assert judge.scores(DRAWN)[1].tolist() == [0, 1, 0, 0, 1]
    facts = json.loads(json.dumps(about(judge)))
    assert facts["judges"]["style"] == {"name": "styles/1", "accuracy": 0.8, "threshold": None}


@pytest.mark.parametrize("judge", [as_judge(things()), both(), Panel([both(), as_judge(things())])])
def test_an_unknown_label_is_refused_with_those_that_are_known(judge: ByLabel) -> None:
    with pytest.raises(ConfigError, match=r"unknown label 'bom'; did you mean 'bomb'\? There are: bomb, "):
        shows(judge, DRAWN, "bom")
    with pytest.raises(ConfigError, match="unknown label 'cat'"):
        met(judge, DRAWN, [["bomb"], ["cat"], (), ()])
    with pytest.raises(ConfigError, match="unknown label 'cat'"):
        require_labels(judge, ["bomb", "cat"])
    require_labels(judge, ["bomb", "owl"])


def test_the_worst_of_a_panel_counts() -> None:
    other = Reader("other/1", 1, "bomb", "owl")  # reads the second channel
    panel = Panel([as_judge(things()), as_judge(other)])
    assert shows(panel, DRAWN, "bomb").tolist() == [True, False, True, True]  # one is enough
    assert met(panel, DRAWN, ["bomb"] * 4).tolist() == [True, False, False, False]  # all are needed
    assert panel.scores(DRAWN)[2].tolist() == [1, 0, 1]
    facts = about(panel)
    assert facts["disagreement"] == {"images": 8, "split": 4}
    assert [m["name"] for m in facts["members"]] == ["things/1", "other/1"]
    assert facts["accuracy"] is None


def test_a_panel_within_a_judge_by_label_keeps_its_rule() -> None:
    panel = Panel([as_judge(things()), as_judge(Reader("other/1", 1, "bomb", "owl"))])
    judge = ByLabel({"object": panel})
    assert met(judge, DRAWN, ["bomb"] * 4).tolist() == surely(panel, DRAWN, ["bomb"] * 4).tolist()
    assert shows(judge, DRAWN, "bomb").sum() == 3


def test_a_panel_has_two_judges_with_a_common_label() -> None:
    with pytest.raises(ConfigError, match="two or more judges; got 1"):
        Panel([both()])
    with pytest.raises(ConfigError, match=r"share no label .*things/1: bomb, owl.*give them the same labels"):
        Panel([as_judge(things()), _Only("cat")])


class _Only:
    """A judge that knows one label."""

    accuracy = threshold = None

    def __init__(self, label: str) -> None:
        self.name, self.labels, self.axes = "only/1", (label,), {"label": (label,)}

    def sees(self, images: Tensor, wanted: Sequence[str]) -> Tensor:
        return torch.ones(len(images), dtype=torch.bool)

    def scores(self, images: Tensor) -> Tensor:
        return torch.ones(len(images), 1)


def test_the_embedded_judges_are_one_plug_in() -> None:
    plugin = built("judge", {"kind": "embedded", "folder": str(JUDGES)})
    judge = plugin.open()
    assert plugin.files() == {axis: JUDGES / f"{axis}.safetensors" for axis in ("object", "style")}
    assert list(judge.axes) == ["object", "style"]
    images = torch.rand(4, 3, 32, 32) * 2 - 1
    alone = CnnJudge.load(JUDGES / "style.safetensors")
    label = alone.classes[0]
    assert torch.equal(shows(judge, images, label), shows(alone, images, label))
    assert judge.accuracy is not None
    assert judge.accuracy >= 0.98
    with pytest.raises(ModelError, match=r"object\.safetensors is not there"):
        built("judge", {"kind": "embedded", "folder": "nowhere"}).open()


def test_the_probes_are_one_plug_in() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    plugin = built("judge", {"kind": "probe", "folder": str(JUDGES.parent / "probes")})
    judge = plugin.open()
    assert set(plugin.files()) == {"object", "style", "backbone"}
    assert judge.sees(torch.zeros(1, 3, 32, 32), ["bomb"]).shape == (1,)
    assert judge.axes["object"] == built("judge", {"kind": "embedded", "folder": str(JUDGES)}).open().axes["object"]
