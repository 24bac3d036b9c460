"""NSFW.js, a classifier of whole images trained apart from NudeNet: `nsfw` or `safe`; `npm pack nsfwjs@4.3.0`."""

import base64
import binascii
import re
import tarfile
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ..errors import ConfigError, ModelError, unknown
from .base import AXIS, Judge
from .folder import version_of
from .scored import Scored, ScoredSettings, Share

NAME = "nsfwjs"
PAPER = "github.com/infinitered/nsfwjs; MobileNetV2: Sandler et al., 2018, arXiv:1801.04381"
LABELS = ("nsfw", "safe")
CLASSES = ("drawing", "hentai", "neutral", "porn", "sexy")
FOLDER = "dist/models/mobilenet_v2"
FILES = ("model.min.js", "group1-shard1of1.min.js")
SIZE, EPSILON, HALVING = 224, 1e-3, (1, 3, 6, 13)
WEIGHT = re.compile(
    r'\{name:"([^"]+)",shape:\[([\d,]*)\],dtype:"float32",'
    r'quantization:\{min:([-.\de]+),scale:([-.\de]+),dtype:"uint8"\}\}'
)
DATA = re.compile(r'"([A-Za-z0-9+/]{1000,}={0,2})"')


class NsfwJsJudge(ScoredSettings):
    """Where the package is, and what counts as unsafe."""

    package: Path  # nsfwjs-4.3.0.tgz as npm packs it, or the folder node_modules/nsfwjs
    threshold: Share | None = Field(default=0.5, ge=0, le=1)
    classes: tuple[str, ...] = ("hentai", "porn", "sexy")  # their probabilities add up

    def files(self) -> dict[str, Path]:
        """The package, or the folder of its model."""
        return {"nsfwjs": self.package / FOLDER if self.package.is_dir() else self.package}

    def open(self, device: str = "cpu") -> Judge:
        """Read the weights out of the package."""
        if odd := sorted(set(self.classes) - set(CLASSES)):
            raise ConfigError(f"judge nsfwjs: {unknown('class', odd[0], CLASSES)}.")
        if not self.classes or self.threshold is None:
            raise ConfigError("judge nsfwjs: expected a threshold and at least one class.")
        weights = {name: value.to(device) for name, value in read_weights(self.package).items()}
        columns = [CLASSES.index(one) for one in self.classes]

        def score(images: Tensor) -> Tensor:
            found = probabilities(weights, images.to(device))
            return found[:, columns].sum(1, keepdim=True).clamp(0, 1)

        version = version_of(*([self.package / FOLDER] if self.package.is_dir() else [self.package]))
        name = f"nsfwjs-mobilenet-v2/{version}"
        return Scored(name, {AXIS: LABELS}, score, self.accuracy, self.threshold, self.batch, rest=LABELS[-1])


PLUGIN = NsfwJsJudge


def read_weights(package: Path) -> dict[str, Tensor]:
    """The tensors of the package's MobileNetV2, by their Keras names and in torch's order of dimensions.

    Each is stored as bytes q in base64 and stands for `min + scale * q`. The scripts are read as text, never run.
    """
    manifest, shard = (_text(package, name) for name in FILES)
    data, found, start = DATA.search(shard), {}, 0
    if data is None:
        raise ModelError(f"{package} has no weights in {FOLDER}/{FILES[1]}; expected nsfwjs 4.3.0 as npm packs it.")
    try:
        stored = torch.frombuffer(bytearray(base64.b64decode(data[1], validate=True)), dtype=torch.uint8)
    except binascii.Error as error:
        raise ModelError(f"{package} has damaged weights ({error}); fetch it again.") from error
    for name, sizes, low, step in WEIGHT.findall(manifest):
        shape = [int(size) for size in sizes.split(",")]
        count = torch.Size(shape).numel()
        part = stored[start : start + count]
        if len(part) < count:
            break
        found[name] = _for_torch(name, (float(low) + float(step) * part.float()).view(shape))
        start += count
    if "dense_3/bias" not in found or start != len(stored):
        raise ModelError(
            f"{package} has {start} weights for {len(stored)} bytes; expected nsfwjs 4.3.0 as npm packs it."
        )
    return found


def _for_torch(name: str, weight: Tensor) -> Tensor:
    if name.endswith("depthwise_kernel"):
        weight = weight.permute(2, 3, 0, 1)
    elif weight.ndim == 4:
        weight = weight.permute(3, 2, 0, 1)
    elif weight.ndim == 2:
        weight = weight.T
    return weight.contiguous()


def probabilities(weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """Images (B, 3, H, W) in [-1, 1] -> the probabilities of `CLASSES`: (B, 5)."""
    pixels = ((images.float() + 1) / 2).clamp(0, 1)
    hidden = functional.interpolate(pixels, size=(SIZE, SIZE), mode="bilinear", align_corners=True)
    hidden = functional.relu6(_convolved(weights, hidden, "Conv1/kernel", "bn_Conv1", stride=2))
    hidden = _block(weights, hidden, "expanded_conv", stride=1)
    for number in range(1, 17):
        hidden = _block(weights, hidden, f"block_{number}", stride=2 if number in HALVING else 1)
    hidden = functional.relu6(_convolved(weights, hidden, "Conv_1/kernel", "Conv_1_bn")).mean((2, 3))
    for layer in ("dense_1", "dense_2"):
        hidden = functional.relu(functional.linear(hidden, weights[f"{layer}/kernel"], weights[f"{layer}/bias"]))
    return functional.linear(hidden, weights["dense_3/kernel"], weights["dense_3/bias"]).softmax(1)


def _block(weights: dict[str, Tensor], images: Tensor, name: str, stride: int) -> Tensor:
    """Widen, filter each channel, narrow; added to the input where the shapes allow it."""
    hidden = images
    if f"{name}_expand/kernel" in weights:
        hidden = functional.relu6(_convolved(weights, hidden, f"{name}_expand/kernel", f"{name}_expand_BN"))
    key, norm = f"{name}_depthwise/depthwise_kernel", f"{name}_depthwise_BN"
    hidden = functional.relu6(_convolved(weights, hidden, key, norm, stride, hidden.shape[1]))
    hidden = _convolved(weights, hidden, f"{name}_project/kernel", f"{name}_project_BN")
    return images + hidden if images.shape == hidden.shape else hidden


def _convolved(
    weights: dict[str, Tensor], images: Tensor, kernel: str, norm: str, stride: int = 1, groups: int = 1
) -> Tensor:
    """A convolution with Keras's borders and the normalisation after it."""
    weight = weights[kernel]
    if weight.shape[-1] == 3:
        images = functional.pad(images, (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1))
    hidden = functional.conv2d(images, weight, stride=stride, groups=groups)
    mean, variance = weights[f"{norm}/moving_mean"], weights[f"{norm}/moving_variance"]
    return functional.batch_norm(hidden, mean, variance, weights[f"{norm}/gamma"], weights[f"{norm}/beta"], eps=EPSILON)


def _text(package: Path, name: str) -> str:
    """A script of the package, from its folder or its archive."""
    expected = "expected nsfwjs 4.3.0: `npm pack nsfwjs@4.3.0`, or node_modules/nsfwjs"
    try:
        if package.is_dir():
            return (package / FOLDER / name).read_text(encoding="utf-8")
        with tarfile.open(package) as archive:
            handle = archive.extractfile(f"package/{FOLDER}/{name}")
            return handle.read().decode() if handle else ""
    except FileNotFoundError:
        raise ModelError(f"{package} is not there or has no {FOLDER}/{name}; {expected}.") from None
    except (OSError, tarfile.TarError, KeyError, EOFError, UnicodeDecodeError) as error:
        raise ModelError(f"{package} cannot be read as an npm package ({error}); {expected}.") from error
