"""The NSFW.js judge: packages are read as text; with the real one, the answers are those of TensorFlow.js.

The real package is not shipped: `npm pack nsfwjs@4.3.0` and TVERASE_NSFWJS=nsfwjs-4.3.0.tgz run that test.
"""

import base64
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from test_judge_nudenet import hopper
from torch import Tensor

from tverase.errors import ConfigError, ModelError
from tverase.judges.base import Judge, met, shows
from tverase.judges.nsfwjs import CLASSES, FILES, FOLDER, LABELS, probabilities, read_weights
from tverase.registry import built
from tverase.rng import generator

REAL = os.environ.get("TVERASE_NSFWJS", "")
OF_TFJS = [0.00140, 0.00006, 0.99835, 0.00009, 0.00010]  # of hopper(), by @tensorflow/tfjs 4 on its CPU


def layout() -> dict[str, list[int]]:
    """The names and shapes of a MobileNetV2 whose layers have 4 channels, in Keras's order of dimensions."""
    found: dict[str, list[int]] = {"Conv1/kernel": [3, 3, 3, 4], "Conv_1/kernel": [1, 1, 4, 4]}
    norms = ["bn_Conv1", "Conv_1_bn"]
    for name in ("expanded_conv", *(f"block_{i}" for i in range(1, 17))):
        found[f"{name}_depthwise/depthwise_kernel"] = [3, 3, 4, 1]
        found[f"{name}_project/kernel"] = [1, 1, 4, 4]
        norms += [f"{name}_depthwise_BN", f"{name}_project_BN"]
        if name != "expanded_conv":
            found[f"{name}_expand/kernel"] = [1, 1, 4, 4]
            norms.append(f"{name}_expand_BN")
    for norm in norms:
        found |= {f"{norm}/{part}": [4] for part in ("gamma", "beta", "moving_mean", "moving_variance")}
    found |= {"dense_1/kernel": [4, 6], "dense_1/bias": [6], "dense_2/kernel": [6, 3], "dense_2/bias": [3]}
    return found | {"dense_3/kernel": [3, 5], "dense_3/bias": [5]}


def package(path: Path, spoil: str = "") -> dict[str, Tensor]:
    """Write a package as npm does; what it should be read as, in Keras's order of dimensions."""
    stored, specs, expected = b"", [], {}
    for name, shape in layout().items():
        low, step = (0.5, 0.004) if name.endswith(("variance", "gamma", "beta", "bias", "mean")) else (-1.9, 0.015)
        part = torch.randint(0, 256, shape, generator=generator(1, f"tests/nsfwjs/{name}"), dtype=torch.uint8)
        expected[name] = low + step * part.float()
        stored += part.numpy().tobytes()
        numbers = f'min:{low},scale:{step},dtype:"uint8"'.replace("0.", ".")
        specs.append(
            f'{{name:"{name}",shape:{str(shape).replace(" ", "")},dtype:"float32",quantization:{{{numbers}}}}}'
        )
    if spoil == "short":
        stored = stored[:-9]
    coded = base64.b64encode(stored).decode()
    model = f'h.exports={{weightsManifest:[{{paths:["group1-shard1of1"],weights:[{",".join(specs)}]}}]}}'
    texts = {FILES[0]: model, FILES[1]: "h.exports=null" if spoil == "empty" else f'h.exports="{coded}"'}
    if spoil == "no manifest":
        texts[FILES[0]] = "h.exports={}"
    if path.suffix == ".tgz":
        with tarfile.open(path, "w:gz") as archive:
            for name, text in texts.items():
                about = tarfile.TarInfo(f"package/{FOLDER}/{name}")
                about.size = len(text)
                archive.addfile(about, io.BytesIO(text.encode()))
    else:
        (path / FOLDER).mkdir(parents=True)
        for name, text in texts.items():
            (path / FOLDER / name).write_text(text)
    return expected


def opened(path: Path | str, **more: Any) -> Judge:
    judge: Judge = built("judge", {"kind": "nsfwjs", "package": str(path), **more}).open()
    return judge


@pytest.mark.parametrize("name", ["nsfwjs.tgz", "nsfwjs"])
def test_weights_are_dequantised_and_turned(tmp_path: Path, name: str) -> None:
    expected, found = package(tmp_path / name), read_weights(tmp_path / name)
    assert list(found) == list(expected)
    assert torch.allclose(found["Conv1/kernel"], expected["Conv1/kernel"].permute(3, 2, 0, 1))
    assert found["block_1_depthwise/depthwise_kernel"].shape == (4, 1, 3, 3)
    assert torch.allclose(found["dense_2/kernel"], expected["dense_2/kernel"].T)
    assert torch.allclose(found["dense_3/bias"], expected["dense_3/bias"])


def test_a_package_is_a_judge_of_the_labels_of_nudenet(tmp_path: Path) -> None:
    package(tmp_path / "nsfwjs.tgz")
    images = torch.rand(5, 3, 40, 30, generator=generator(0, "tests/nsfwjs")) * 2 - 1
    found = probabilities(read_weights(tmp_path / "nsfwjs.tgz"), images)
    assert found.sum(1).tolist() == pytest.approx([1] * 5)
    unsafe = found[:, [CLASSES.index(one) for one in ("hentai", "porn", "sexy")]].sum(1)
    threshold = float(unsafe.sort().values[1:3].mean())
    judge = opened(tmp_path / "nsfwjs.tgz", threshold=threshold, batch=2)
    assert judge.labels == LABELS
    assert shows(judge, images, "nsfw").sum() == 3
    assert met(judge, images, [["safe"]] * 5).sum() == 2
    assert torch.allclose(judge.scores(images)[:, 0], unsafe, atol=1e-5)
    assert judge.name.startswith("nsfwjs-mobilenet-v2/")


@pytest.mark.parametrize(
    ("spoil", "said"), [("short", "weights for"), ("empty", "has no weights in"), ("no manifest", "has 0 weights for")]
)
def test_another_package_is_refused(tmp_path: Path, spoil: str, said: str) -> None:
    package(tmp_path / "nsfwjs", spoil)
    with pytest.raises(ModelError, match=f"{said}.*expected nsfwjs 4"):
        opened(tmp_path / "nsfwjs")


def test_a_missing_package_or_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.tgz").write_text("no archive")
    (tmp_path / "folder").mkdir()
    for name in ("nowhere.tgz", "text.tgz", "folder"):
        with pytest.raises(ModelError, match="npm pack nsfwjs@4"):
            opened(tmp_path / name)
    with pytest.raises(ConfigError, match="package is missing; the fields are"):
        built("judge", "nsfwjs")


def test_unknown_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown class 'pron'; did you mean 'porn'"):
        opened(tmp_path, classes=["pron"])
    with pytest.raises(ConfigError, match="expected a threshold and at least one class"):
        opened(tmp_path, threshold=None)


@pytest.mark.skipif(not REAL, reason="TVERASE_NSFWJS is not set")
def test_the_real_package_answers_as_with_tensorflow() -> None:
    found = probabilities(read_weights(Path(REAL)), hopper())[0]
    assert found.tolist() == pytest.approx(OF_TFJS, abs=2e-5)
    assert shows(opened(REAL), hopper(), "safe").all()
