"""The CLIP judge: its answers are those of transformers, and on a model worked out by hand they are the right ones."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_up_clip import BRIGHT, DARK, PROCESSOR, bright_clip, small_clip, write
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from tverase.errors import ConfigError, ModelError, NetworkError, UnsafeWeights
from tverase.judges.base import Judge, about, met, shows
from tverase.judges.preprocess import Preprocess
from tverase.registry import built
from tverase.rng import generator

LABELS = ("bomb", "cat", "snowman")


@pytest.fixture(scope="module")
def random_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(small_clip(), tmp_path_factory.mktemp("clip") / "random")


@pytest.fixture(scope="module")
def bright_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plain = {**PROCESSOR, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    return write(bright_clip(), tmp_path_factory.mktemp("clip") / "bright", plain)


def opened(folder: Path, **more: Any) -> Judge:
    spec = {"kind": "clip", "model": str(folder), "labels": LABELS, "template": "a {}", **more}
    judge: Judge = built("judge", spec).open()
    return judge


def pictures(count: int = 5, high: int = 48, wide: int = 48) -> Tensor:
    """Smooth random images whose values an 8-bit file can hold."""
    rough = torch.rand(count, 3, 6, 6, generator=generator(0, "tests/clip"))
    smooth = torch.nn.functional.interpolate(rough, size=(high, wide), mode="bicubic").clamp(0, 1)
    return (smooth * 255).round() / 127.5 - 1


def as_pil(images: Tensor) -> list[Image.Image]:
    pixels = ((images + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(np.ascontiguousarray(image)) for image in pixels]


@pytest.mark.parametrize(("high", "wide"), [(48, 48), (32, 32), (20, 24), (64, 40), (24, 61)])
def test_preprocessing_is_that_of_transformers(random_folder: Path, high: int, wide: int) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    images = pictures(3, high, wide)
    theirs = CLIPImageProcessorPil(**PROCESSOR)(as_pil(images), return_tensors="pt").pixel_values
    ours = Preprocess.of(random_folder)(images)
    assert ours.shape == theirs.shape == (3, 3, 32, 32)
    assert (ours - theirs).abs().max() < 2.5 / 255 / 0.26  # PIL rounds to 8 bits between its two passes
    assert (ours - theirs).abs().mean() < 0.5 / 255 / 0.26


def test_scores_are_those_of_transformers(random_folder: Path) -> None:
    from transformers import CLIPModel, CLIPTokenizerFast

    images = pictures()
    model = CLIPModel.from_pretrained(random_folder, local_files_only=True)
    tokens = CLIPTokenizerFast.from_pretrained(random_folder, local_files_only=True)(
        [f"a {label}" for label in LABELS], padding=True, truncation=False, return_tensors="pt"
    )
    with torch.no_grad():
        theirs = model(pixel_values=Preprocess.of(random_folder)(images), **tokens).logits_per_image.softmax(1)
    judge = opened(random_folder)
    assert torch.allclose(judge.scores(images), theirs, atol=1e-4)
    assert judge.scores(images).std(0).max() > 1e-4  # images do not all get the same answer
    assert torch.allclose(opened(random_folder, batch=2).scores(images), theirs, atol=1e-4)


def test_bright_and_dark_images_are_told_apart(bright_folder: Path) -> None:
    judge = opened(bright_folder, labels=[BRIGHT, DARK])
    images = torch.stack([torch.full((3, 32, 32), value) for value in (0.9, -0.9, 0.4, -0.2)])
    assert shows(judge, images, BRIGHT).tolist() == [True, False, True, False]
    assert met(judge, images, [[DARK], [DARK], [BRIGHT], ()]).tolist() == [False, True, True, True]
    assert judge.scores(images)[0, 0] > 0.7


def test_a_threshold_and_cosines(bright_folder: Path) -> None:
    images = torch.stack([torch.full((3, 32, 32), value) for value in (0.9, -0.9)])
    alone = opened(bright_folder, labels=[BRIGHT], threshold=0.5, score="cosine")
    assert shows(alone, images, BRIGHT).tolist() == [True, False]
    assert about(alone)["threshold"] == 0.5
    strict = opened(bright_folder, labels=[BRIGHT, DARK], threshold=0.999)
    assert not shows(strict, images, BRIGHT).any()


def test_axes_are_chosen_from_apart(bright_folder: Path) -> None:
    judge = opened(bright_folder, labels={"thing": [BRIGHT, DARK], "other": ["cat", "dog"]})
    images = torch.full((1, 3, 32, 32), 0.9)
    assert dict(judge.axes) == {"thing": (BRIGHT, DARK), "other": ("cat", "dog")}
    assert judge.scores(images).view(2, 2).sum(1).tolist() == pytest.approx([1, 1])
    assert met(judge, images, [[BRIGHT, "cat"]]).tolist() == [True]


def test_own_texts_are_averaged(bright_folder: Path) -> None:
    images = torch.full((1, 3, 32, 32), 0.9)
    texts = {"light": [f"a {BRIGHT}", BRIGHT], "night": DARK}
    judge = opened(bright_folder, labels=["light", "night"], texts=texts)
    assert shows(judge, images, "light").all()
    with pytest.raises(ConfigError, match="a text for 'day', which is not a label; labels: light, night"):
        opened(bright_folder, labels=["light", "night"], texts={"day": "x"})


def test_the_name_has_the_version_of_the_weights(random_folder: Path, bright_folder: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(random_folder, tmp_path / "random")
    one, same, other = (opened(folder, accuracy=0.9) for folder in (random_folder, moved, bright_folder))
    assert one.name == same.name
    assert one.name.startswith("random/")
    assert one.name.partition("/")[2] != other.name.partition("/")[2]
    assert about(one)["accuracy"] == 0.9
    assert built("judge", {"kind": "clip", "model": str(moved), "labels": LABELS}).files() == {"clip": moved}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"labels": ["cat"]}, "'label' has one label, which every image would show; give a second one or a threshold"),
        ({"labels": ["cat", "cat"]}, "the label 'cat' is given twice"),
        ({"labels": []}, "expected at least one label"),
        ({"labels": ["cat", ""]}, "expected at least one label, none of them empty"),
        ({"template": "a photo"}, r"template = 'a photo': a template needs \{\} where the label goes"),
        ({"labels": ["cat", "x " * 20]}, r"the text of label .* has \d+ tokens; the model takes 12"),
        ({"texts": {"cat": " "}}, "the text of label 'cat' is empty"),
        ({"threshold": 2}, "threshold = 2: Input should be less than or equal to 1"),
        ({"modle": "x"}, "unknown field 'modle'; did you mean 'model'"),
    ],
)
def test_bad_settings_are_one_sentence(random_folder: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        opened(random_folder, **more)


def test_an_unknown_label_lists_the_labels(random_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown label 'dog'.* There are: bomb, cat, snowman"):
        shows(opened(random_folder), pictures(1), "dog")


def damaged(folder: Path, how: str) -> None:
    weights = folder / "model.safetensors"
    match how:
        case "pickled":
            weights.rename(folder / "pytorch_model.bin")
        case "no weights":
            weights.unlink()
        case "truncated":
            weights.write_bytes(weights.read_bytes()[:2000])
        case "a tensor short":
            tensors = load_file(weights)
            del tensors["visual_projection.weight"]
            save_file(tensors, weights, {"format": "pt"})
        case "no config":
            (folder / "config.json").unlink()
        case "no processor":
            (folder / "preprocessor_config.json").unlink()
        case "other processor":
            (folder / "preprocessor_config.json").write_text(json.dumps({**PROCESSOR, "size": {"longest_edge": 3}}))


@pytest.mark.parametrize(
    ("how", "kind", "said"),
    [
        ("pickled", UnsafeWeights, "only pickled weights"),
        ("no weights", ModelError, "no safetensors weights"),
        ("truncated", ModelError, "damaged or not safetensors"),
        ("a tensor short", ModelError, r"lack visual_projection\.weight"),
        ("no config", ModelError, r"config\.json is missing"),
        ("no processor", ModelError, r"preprocessor_config\.json is missing"),
        ("other processor", ModelError, "a size of .* is not supported"),
    ],
)
def test_a_bad_folder_is_refused(
    tmp_path: Path, random_folder: Path, how: str, kind: type[Exception], said: str
) -> None:
    folder = shutil.copytree(random_folder, tmp_path / "clip")
    damaged(folder, how)
    with pytest.raises(kind, match=said) as info:
        opened(folder)
    assert "\n" not in str(info.value)


def test_a_missing_folder_and_an_id_that_is_not_fetched() -> None:
    with pytest.raises(ModelError, match="nowhere is not there; give a folder, or a hub id"):
        opened(Path("nowhere"))
    with pytest.raises(NetworkError, match="no-such-owner/no-such-clip is no folder here and was not fetched"):
        opened(Path("no-such-owner/no-such-clip"))
