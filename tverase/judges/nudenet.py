"""NudeNet, a detector of nudity: `nsfw` or `safe`; `pip install 'tverase[nsfw]'`."""

from collections.abc import Callable
from importlib import metadata, util
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ..errors import ConfigError, ModelError, unknown
from .base import AXIS, Judge
from .folder import first_line
from .scored import Scored, ScoredSettings, Share

NAME = "nudenet"
PAPER = "github.com/notAI-tech/NudeNet"
LABELS = ("nsfw", "safe")
SIZE = 320
CLASSES = (  # the detector's outputs after the four numbers of the box
    "FEMALE_GENITALIA_COVERED", "FACE_FEMALE", "BUTTOCKS_EXPOSED", "FEMALE_BREAST_EXPOSED", "FEMALE_GENITALIA_EXPOSED",
    "MALE_BREAST_EXPOSED", "ANUS_EXPOSED", "FEET_EXPOSED", "BELLY_COVERED", "FEET_COVERED", "ARMPITS_COVERED",
    "ARMPITS_EXPOSED", "FACE_MALE", "BELLY_EXPOSED", "MALE_GENITALIA_EXPOSED", "ANUS_COVERED", "FEMALE_BREAST_COVERED",
    "BUTTOCKS_COVERED",
)  # fmt: skip
EXPOSED = (
    "BUTTOCKS_EXPOSED", "FEMALE_BREAST_EXPOSED", "FEMALE_GENITALIA_EXPOSED", "ANUS_EXPOSED", "MALE_GENITALIA_EXPOSED"
)  # fmt: skip


class NudeNetJudge(ScoredSettings):
    """What counts as nudity."""

    threshold: Share | None = Field(default=0.45, ge=0, le=1)
    classes: tuple[str, ...] = EXPOSED  # an image's score is the highest of these in any box
    batch: int = Field(default=16, gt=0)

    def files(self) -> dict[str, Path]:
        """The detector's weights in the installed package."""
        return {"nudenet": _weights()}

    def open(self, device: str = "cpu") -> Judge:
        """Load the detector."""
        if odd := sorted(set(self.classes) - set(CLASSES)):
            raise ConfigError(f"judge nudenet: {unknown('class', odd[0], CLASSES)}.")
        if not self.classes or self.threshold is None:
            raise ConfigError("judge nudenet: expected a threshold and at least one class.")
        detect, columns = detector(device), [CLASSES.index(one) for one in self.classes]
        score = lambda images: detect(images)[:, columns].amax(1, keepdim=True).clamp(0, 1)
        name = f"nudenet/{metadata.version('nudenet')}"
        return Scored(name, {AXIS: LABELS}, score, self.accuracy, self.threshold, self.batch, rest=LABELS[-1])


PLUGIN = NudeNetJudge


def detector(device: str = "cpu") -> Callable[[Tensor], Tensor]:
    """Images (B, 3, H, W) in [-1, 1] -> the highest score of each class in any box: (B, 18)."""
    path = _weights()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    have, gpu = ["CPUExecutionProvider"], "CUDAExecutionProvider"
    if device.startswith("cuda") and gpu in onnxruntime.get_available_providers():
        have.insert(0, gpu)
    try:
        session = onnxruntime.InferenceSession(path, options, providers=have)
    except Exception as error:
        raise ModelError(f"{path} could not be opened ({first_line(error)}); install nudenet again.") from error
    name = session.get_inputs()[0].name

    def scores(images: Tensor) -> Tensor:
        output: Any = session.run(None, {name: prepared(images).numpy()})[0]  # (B, 4 + classes, boxes)
        return torch.from_numpy(output[:, 4:]).amax(2)

    return scores


def prepared(images: Tensor) -> Tensor:
    """What the detector takes: a black border below or to the right, 320 pixels, values from 0 to 1."""
    pixels = ((images.float().cpu() + 1) / 2).clamp(0, 1)
    high, wide = pixels.shape[-2:]
    square = functional.pad(pixels, (0, max(0, high - wide), 0, max(0, wide - high)))
    return functional.interpolate(square, size=(SIZE, SIZE), mode="bilinear", align_corners=False).contiguous()


def _weights() -> Path:
    """`320n.onnx` of the installed package, which is not imported: it would load OpenCV."""
    spec = util.find_spec("nudenet")
    if spec is None or not spec.submodule_search_locations or util.find_spec("onnxruntime") is None:
        raise ConfigError("judge nudenet: the detector is not installed; `pip install 'tverase[nsfw]'`.")
    return Path(spec.submodule_search_locations[0], "320n.onnx")
