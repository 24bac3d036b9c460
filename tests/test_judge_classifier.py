"""The classifier judge: transformers folders and timm files, first choices and thresholds, classes mapped to labels."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tverase.errors import ConfigError, ModelError, UnsafeWeights
from tverase.judges.base import NONE, Judge, met, shows
from tverase.judges.preprocess import Preprocess
from tverase.registry import built
from tverase.rng import generator

CLASSES = ("beagle", "tabby", "poodle", "church", "crane", "crane")  # ImageNet has two cranes
PROCESSOR = {"do_resize": True, "size": {"height": 16, "width": 16}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def network(problem: str | None = None) -> Any:
    """A small ViT of random weights."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=4,
        id2label=dict(enumerate(CLASSES)), label2id={c: i for i, c in enumerate(CLASSES)}, problem_type=problem,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = ViTForImageClassification(config).eval().requires_grad_(False)
        for weight in net.parameters():
            weight.copy_(weight + 0.3 * torch.randn(weight.shape))
    return net


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("vit") / "vit", network())


def written(folder: Path, net: Any) -> Path:
    net.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return folder


def opened(folder: Path, **more: Any) -> Judge:
    judge: Judge = built("judge", {"kind": "classifier", "model": str(folder), **more}).open()
    return judge


def images(count: int = 64, pixels: int = 16) -> Tensor:
    return torch.rand(count, 3, pixels, pixels, generator=generator(0, "tests/classifier")) * 2 - 1


def probabilities(drawn: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = network()(pixel_values=drawn).logits.softmax(1)
    return found


def test_the_first_choice_of_the_network_counts(folder: Path) -> None:
    drawn, judge = images(), opened(folder, batch=7)
    first = [CLASSES[i] for i in probabilities(drawn).argmax(1)]
    assert len(set(first)) > 1
    assert judge.labels == ("beagle", "tabby", "poodle", "church", "crane")
    assert judge.sees(drawn, first).all()
    assert met(judge, drawn, [[label] for label in first]).all()
    for label in judge.labels:
        assert shows(judge, drawn, label).tolist() == [label == one for one in first]
    assert torch.allclose(judge.scores(drawn)[:, 4], probabilities(drawn)[:, 4:].amax(1), atol=1e-5)


def test_classes_are_mapped_to_labels(folder: Path) -> None:
    drawn = images()
    judge = opened(folder, mapping={"dog": ["beagle", "poodle"], "church": ["church"]})
    assert judge.labels == ("dog", "church", NONE)
    first = probabilities(drawn).argmax(1)
    assert shows(judge, drawn, "dog").tolist() == [int(i) in {0, 2} for i in first]
    assert shows(judge, drawn, NONE).tolist() == [int(i) in {1, 4, 5} for i in first]


def test_with_a_threshold_the_classes_of_a_label_add_up(folder: Path) -> None:
    drawn = images()
    judge = opened(folder, mapping={"dog": ["beagle", "poodle"]}, threshold=0.4)
    total = probabilities(drawn)[:, [0, 2]].sum(1)
    assert torch.allclose(judge.scores(drawn)[:, 0], total, atol=1e-5)
    assert shows(judge, drawn, "dog").tolist() == (total >= 0.4).tolist()
    assert 0 < shows(judge, drawn, "dog").sum() < len(drawn)


def test_several_classes_at_once(tmp_path: Path) -> None:
    judge = opened(written(tmp_path / "vit", network("multi_label_classification")), threshold=0.5)
    with torch.no_grad():
        theirs = network()(pixel_values=images()).logits.sigmoid()
    assert torch.allclose(judge.scores(images())[:, :4], theirs[:, :4], atol=1e-5)
    assert (judge.scores(images()).sum(1) > 1).any()


def test_images_of_another_size_are_resized(folder: Path) -> None:
    drawn = images(4, 40)
    small = Preprocess.of(folder)(drawn)
    assert torch.allclose(
        opened(folder, mapping={"dog": ["beagle"]}).scores(drawn)[:, 0], probabilities(small)[:, 0], atol=1e-5
    )


@pytest.mark.parametrize(
    ("settings", "resize", "crop"),
    [
        ({"size": 224}, 224, None),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, 256, (224, 224)),
        ({"size": {"shortest_edge": 384}, "crop_pct": 1.0}, (384, 384), None),
        ({"size": {"height": 8, "width": 9}, "do_center_crop": True, "crop_size": 7}, (8, 9), (7, 7)),
        ({"size": {"height": 8, "width": 9}, "do_resize": False}, None, None),
    ],
)
def test_processor_settings(settings: dict[str, Any], resize: Any, crop: Any) -> None:
    found = Preprocess.parse({"image_mean": [0] * 3, "image_std": [1] * 3, **settings})
    assert (found.resize, found.crop) == (resize, crop)
    side = found(torch.zeros(1, 3, 400, 400)).shape[-2:]
    assert tuple(side) == (crop or ((resize, resize) if isinstance(resize, int) else resize) or (400, 400))


@pytest.mark.parametrize("odd", [{"rescale_factor": 1}, {"include_top": True}, {"size": {"longest_edge": 5}}])
def test_processor_settings_that_are_not_understood(odd: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not supported"):
        Preprocess.parse({"size": 8, "image_mean": [0] * 3, "image_std": [1] * 3, **odd})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"mapping": {"dog": ["beagel"]}},
            r"unknown class 'beagel'; did you mean 'beagle'\? There are: beagle, church",
        ),
        ({"mapping": {"dog": ["beagle"], "none": ["tabby"]}}, "the label 'none' is given to the classes"),
        ({"mapping": {"dog": list(CLASSES)}}, "has one label, which every image would show"),
        ({"model": "timm:resnet18"}, "timm:NAME needs `weights`, a safetensors file, and `classes`"),
        ({"classes": ["a"]}, "`weights` and `classes` belong to timm:NAME"),
    ],
)
def test_bad_settings_are_one_sentence(folder: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as info:
        built("judge", {"kind": "classifier", "model": str(folder), **more}).open()
    assert "\n" not in str(info.value)


def test_another_network_or_pickled_weights_are_refused(tmp_path: Path, folder: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "no-such-type", "auto_map": {"AutoConfig": "evil.Config"}}')
    (other / "evil.py").write_text("raise SystemExit('ran')")
    save_file({"w": torch.zeros(1)}, other / "model.safetensors")
    (other / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    with pytest.raises(ModelError, match="could not be opened as an image classifier"):
        opened(other)
    (other / "model.safetensors").rename(other / "pytorch_model.bin")
    with pytest.raises(UnsafeWeights, match="only pickled weights"):
        opened(other)


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed")
def test_a_missing_timm_says_how_to_get_it(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=r"pip install 'tverase\[timm\]'"):
        opened_timm(tmp_path / "w.safetensors")


def opened_timm(weights: Path, name: str = "resnet18") -> Judge:
    spec = {"kind": "classifier", "model": f"timm:{name}", "weights": weights, "classes": ["cat", "dog"]}
    judge: Judge = built("judge", spec).open()
    return judge


def test_timm_weights_are_loaded(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = timm.create_model("test_vit", pretrained=False, num_classes=2).eval()
    path = tmp_path / "w.safetensors"
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, path)
    judge = opened_timm(path, "test_vit")
    config = timm.data.resolve_model_data_config(net)
    drawn = images(3, config["input_size"][1])
    assert judge.labels == ("cat", "dog")
    assert judge.name.startswith("test_vit/")
    assert judge.scores(drawn).sum(1).tolist() == pytest.approx([1] * 3, abs=1e-5)
    with pytest.raises(ConfigError, match=r"unknown timm model 'test_vitt'; did you mean 'test_vit"):
        opened_timm(path, "test_vitt")
    with pytest.raises(ModelError, match="could not be loaded into timm's resnet18"):
        opened_timm(path)
