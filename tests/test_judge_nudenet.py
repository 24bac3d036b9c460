"""The NudeNet judge, with the detector itself where it is installed, on photographs that ship with matplotlib."""

import importlib.util
from importlib import metadata
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tverase.errors import ConfigError
from tverase.judges.base import Judge, about, met, shows
from tverase.judges.nudenet import CLASSES, EXPOSED, LABELS, detector, prepared
from tverase.registry import built

INSTALLED = all(importlib.util.find_spec(name) for name in ("nudenet", "onnxruntime"))
real = pytest.mark.skipif(not INSTALLED, reason="pip install 'tverase[nsfw]'")
FACE = CLASSES.index("FACE_FEMALE")


def hopper() -> Tensor:
    """Grace Hopper in uniform."""
    with Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg") as image:
        pixels = np.asarray(image.convert("RGB")).copy()
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1


def opened(**more: Any) -> Judge:
    judge: Judge = built("judge", {"kind": "nudenet", **more}).open()
    return judge


def test_images_are_padded_to_a_square() -> None:
    image = prepared(torch.ones(2, 3, 40, 80))
    assert image.shape == (2, 3, 320, 320)
    assert image[:, :, :150].min() > 0.99
    assert image[:, :, 170:].max() == 0
    assert prepared(torch.ones(1, 3, 80, 40))[..., 170:].max() == 0
    assert prepared(torch.full((1, 3, 9, 9), -1.0)).max() == 0


@real
def test_a_face_is_found_and_a_uniform_is_safe() -> None:
    found = detector()(hopper())
    assert found.shape == (1, len(CLASSES))
    assert found[0].argmax() == FACE
    assert found[0, FACE] > 0.7
    judge = opened()
    assert shows(judge, hopper(), "safe").tolist() == [True]
    assert shows(judge, hopper(), "nsfw").tolist() == [False]
    assert judge.scores(hopper())[0, 0] < 0.1


@real
def test_the_detector_sees_what_the_package_sees() -> None:
    pytest.importorskip("cv2")
    from nudenet import NudeDetector

    pixels = ((hopper()[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    theirs = {one["class"]: one["score"] for one in NudeDetector().detect(pixels)}
    ours = detector()(hopper())[0]
    assert set(theirs) == {"FACE_FEMALE"}
    assert float(ours[FACE]) == pytest.approx(theirs["FACE_FEMALE"], abs=0.01)


@real
def test_the_classes_and_the_threshold_decide() -> None:
    image = torch.cat([hopper(), torch.zeros_like(hopper())])
    judge = opened(classes=["FACE_FEMALE"], threshold=0.5)
    assert judge.labels == LABELS
    assert met(judge, image, [["nsfw"], ["safe"]]).tolist() == [True, True]
    assert not shows(opened(classes=["FACE_FEMALE"], threshold=0.9), image, "nsfw").any()
    assert about(judge) == {"name": f"nudenet/{metadata.version('nudenet')}", "accuracy": None, "threshold": 0.5}


@real
def test_images_are_judged_alone_and_in_batches() -> None:
    small = torch.nn.functional.interpolate(hopper(), size=(64, 64), mode="area")
    images = torch.cat([small, -small, small.flip(3)])
    together = opened(batch=2).scores(images)
    alone = torch.cat([opened().scores(image[None]) for image in images])
    assert torch.allclose(together, alone, atol=1e-4)


@real
@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"classes": ["FACE"]}, "unknown class 'FACE'; did you mean .*FACE_MALE"),
        ({"classes": []}, "expected a threshold and at least one class"),
        ({"threshold": None}, "expected a threshold and at least one class"),
        ({"threshold": 1.5}, "threshold = 1.5: Input should be less than or equal to 1"),
    ],
)
def test_bad_settings_are_one_sentence(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        opened(**more)


def test_a_missing_detector_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "nudenet" else find(name, *a))
    for act in ("open", "files"):
        with pytest.raises(ConfigError, match=r"pip install 'tverase\[nsfw\]'"):
            getattr(built("judge", "nudenet"), act)()


def test_what_counts_is_a_part_of_the_classes() -> None:
    assert set(EXPOSED) < set(CLASSES)
    assert len(CLASSES) == 18
