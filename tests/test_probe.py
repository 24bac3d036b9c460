"""The independent judge: its contract, and what it says when its backbone is not installed."""

import builtins
import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from tverase.errors import ConfigError, ModelError
from tverase.files import read_tensors, write_tensors
from tverase.judges import backbone
from tverase.judges.probe import ProbeJudge, fit
from tverase.pretrain.judges import Kind, renderings
from tverase.pretrain.probe import training_images
from tverase.rng import generator
from tverase.world.sprites import Sprites
from tverase.world.vocabulary import Vocabulary

INSTALLED = importlib.util.find_spec("efficientnet_lite_pytorch") is not None
PROBES = Path(__file__).parents[1] / "models" / "probes"


@pytest.fixture(scope="module")
def fitted() -> tuple[torch.Tensor, torch.Tensor, ProbeJudge]:
    """Three classes of points that lie apart."""
    rng = generator(0, "tests/probe")
    labels = torch.arange(90) % 3
    found = torch.randn(90, 8, generator=rng) * 0.3 + 3 * torch.eye(3, 8)[labels]
    return found, labels, fit(found, labels, "toy-probe/1", ("a", "b", "none"), "abc")


def test_a_probe_tells_apart_what_can_be_told_apart(fitted: tuple[torch.Tensor, torch.Tensor, ProbeJudge]) -> None:
    found, labels, probe = fitted
    answer = probe.of_features(found)
    assert torch.allclose(answer.sum(1), torch.ones(90))
    assert (answer.argmax(1) == labels).all()


def test_equal_features_give_equal_weights(fitted: tuple[torch.Tensor, torch.Tensor, ProbeJudge]) -> None:
    found, labels, probe = fitted
    again = fit(found, labels, "toy-probe/1", ("a", "b", "none"), "abc")
    assert torch.equal(again.weight, probe.weight)


def test_what_is_saved_is_what_is_loaded(fitted: tuple[torch.Tensor, torch.Tensor, ProbeJudge], tmp_path: Path) -> None:
    found, _, probe = fitted
    replace(probe, accuracy=0.75).save(tmp_path / "probe.safetensors")
    loaded = ProbeJudge.load(tmp_path / "probe.safetensors")
    assert (loaded.classes, loaded.name, loaded.accuracy, loaded.of) == (probe.classes, probe.name, 0.75, "abc")
    assert torch.allclose(loaded.of_features(found), probe.of_features(found), atol=1e-2)


def test_another_file_is_refused(tmp_path: Path) -> None:
    write_tensors({"weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="no whole probe"):
        ProbeJudge.load(tmp_path / "other.safetensors")


@pytest.mark.parametrize("damage", ["other classes", "a tensor short", "no accuracy", "other features"])
def test_a_damaged_probe_is_refused(
    fitted: tuple[torch.Tensor, torch.Tensor, ProbeJudge], tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "probe.safetensors"
    fitted[2].save(path)
    tensors, about = read_tensors(path)
    if damage == "other classes":
        about["classes"] = '["a", "none"]'
    elif damage == "a tensor short":
        del tensors["centre"]
    elif damage == "no accuracy":
        del about["accuracy"]
    else:
        tensors["weight"] = tensors["weight"][1:]
    write_tensors(tensors, path, about)
    with pytest.raises(ModelError, match=r"probe\.safetensors is no whole probe"):
        ProbeJudge.load(path)


def test_a_missing_backbone_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **more: Any) -> Any:
        if name.startswith("efficientnet_lite"):
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match="pip install"):
        backbone.fingerprint()


@pytest.mark.skipif(not (INSTALLED and PROBES.exists()), reason="no extra `judge`, or no probes were fitted")
def test_the_shipped_probes_recognise_renderings(sprites: Sprites, words: Vocabulary) -> None:
    for kind, at_least in (("object", 0.85), ("style", 0.85)):
        probe = ProbeJudge.load(PROBES / f"{kind}.safetensors")
        sample = renderings(kind, 60, sprites, words, generator(5, "tests/probe"))  # type: ignore[arg-type]
        assert (probe.probabilities(sample.images).argmax(1) == sample.labels).float().mean() >= at_least


@pytest.mark.skipif(not INSTALLED, reason="the extra `judge` is not installed")
def test_a_probe_of_another_backbone_is_refused(fitted: tuple[torch.Tensor, torch.Tensor, ProbeJudge]) -> None:
    with pytest.raises(ModelError, match="another backbone"):
        fitted[2].probabilities(torch.zeros(1, 3, 32, 32))


@pytest.mark.skipif(not INSTALLED, reason="the extra `judge` is not installed")
def test_a_probe_keeps_the_contract_of_a_judge(sprites: Sprites, words: Vocabulary) -> None:
    images = renderings("object", 5, sprites, words, generator(6, "tests/probe")).images
    found = backbone.features(images)
    probe = fit(found, torch.arange(5) % 3, "toy-probe/1", ("a", "b", "none"), backbone.fingerprint())
    answer = probe.probabilities(images)
    assert torch.allclose(answer.sum(1), torch.ones(5), atol=1e-5)
    assert torch.allclose(answer[3:], probe.probabilities(images[3:]), atol=1e-4)  # each image is judged alone
    large = images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.allclose(answer, probe.probabilities(large), atol=1e-4)
    assert torch.equal(found, backbone.features(images))


@pytest.mark.skipif(not INSTALLED, reason="the extra `judge` is not installed")
def test_loading_the_backbone_leaves_everybodys_noise_alone() -> None:
    torch.manual_seed(0)
    undisturbed = torch.rand(3)
    torch.manual_seed(0)
    backbone.backbone.cache_clear()
    backbone.backbone()
    assert torch.equal(torch.rand(3), undisturbed)


def test_both_probes_are_fitted_on_the_same_images(sprites: Sprites, words: Vocabulary) -> None:
    thing, style = (training_images(kind, sprites, words, 0, 40) for kind in get_args(Kind))
    assert torch.equal(thing.images, style.images)
    assert not torch.equal(thing.labels, style.labels)
    assert (thing.labels[30:] == len(words.names)).all()  # nameless things and rubbish
    assert (style.labels[30:36] < len(words.styles)).all()  # nameless things have a style
    assert (style.labels[36:] == len(words.styles)).all()
