"""A small convolutional network for 32-pixel images in one file, trained by `tverase/pretrain/judges.py`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import ModelError
from ..files import read_tensors, write_tensors
from ..settings import Settings
from .base import FirstChoice, Judge

BATCH = 512


class JudgeNet(nn.Module):
    """Logits of images: (B, 3, 32, 32) -> (B, classes). 0.3M parameters, 20 MFLOP an image."""

    def __init__(self, classes: int, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 4, stride=2, padding=1)
        self.blocks = nn.ModuleList(
            [
                _block(width, width),
                _block(width, 2 * width, stride=2),
                _block(2 * width, 2 * width),
                _block(2 * width, 4 * width, stride=2),
                _block(4 * width, 4 * width),
            ]
        )
        self.head = nn.Linear(4 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits before the softmax."""
        hidden = functional.relu(self.stem(images))
        for block in self.blocks:
            change = block(hidden)
            hidden = hidden + change if change.shape == hidden.shape else change
        logits: Tensor = self.head(hidden.amax((2, 3)))
        return logits


def _block(wide_in: int, wide_out: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(wide_in, wide_out, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(wide_out), nn.ReLU())


@dataclass(frozen=True)
class CnnJudge(FirstChoice):
    """A trained `JudgeNet` with its classes and its measured accuracy; a `Judge`."""

    net: JudgeNet
    name: str
    classes: tuple[str, ...]
    accuracy: float

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """(B, 3, 32, 32) in [-1, 1] -> (B, classes); larger images are shrunk."""
        if images.shape[-1] != 32:
            images = functional.interpolate(images, size=32, mode="area")
        return torch.cat([self.net(part).softmax(1) for part in torch.split(images, BATCH)])

    def save(self, path: Path) -> None:
        """Write weights, classes and accuracy into one safetensors file (weights in fp16)."""
        state = {key: w.half() if w.is_floating_point() else w for key, w in self.net.state_dict().items()}
        about = {"name": self.name, "classes": json.dumps(self.classes), "accuracy": str(self.accuracy)}
        write_tensors(state, path, about)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        state, about = read_tensors(path)
        if "classes" not in about:
            raise ModelError(f"{path} is not a judge: its metadata names no classes.")
        try:
            classes = tuple(json.loads(about["classes"]))
            net = JudgeNet(len(classes), width=state["stem.bias"].shape[0])
            net.load_state_dict({key: w.float() if w.is_floating_point() else w for key, w in state.items()})
            return cls(net.eval().requires_grad_(False), about["name"], classes, float(about["accuracy"]))
        except (KeyError, ValueError, RuntimeError) as error:
            raise ModelError(f"{path} is no whole judge: {error}") from error


class CnnFile(Settings):
    """Where the network is."""

    file: Path

    def files(self) -> dict[str, Path]:
        """The file."""
        return {"cnn": self.file}

    def open(self, device: str = "cpu") -> Judge:
        """Load it; it is small and stays on the CPU."""
        return CnnJudge.load(self.file)


PLUGIN = CnnFile
