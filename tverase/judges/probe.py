"""A linear probe on features of an ImageNet network, for the embedded world; trained apart from the model."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import ModelError
from ..files import read_tensors, write_tensors
from ..settings import Settings
from . import backbone
from .base import FirstChoice, Judge
from .by_label import ByLabel

NAME = "probe"
PAPER = "features: Tan & Le, 2019, arXiv:1905.11946"
PENALTY = 1e-5  # on the squared weights


@dataclass(frozen=True)
class ProbeJudge(FirstChoice):
    """A linear probe with its classes and its measured accuracy; a `Judge`."""

    weight: Tensor  # (D, classes)
    bias: Tensor  # (classes,)
    centre: Tensor  # (D,)
    scale: Tensor  # (D,)
    name: str
    classes: tuple[str, ...]
    accuracy: float
    of: str  # the backbone's fingerprint

    def probabilities(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, classes)."""
        if self.of != backbone.SHA256:  # which `backbone` holds the installed file against, once
            raise ModelError(f"{self.name} was fitted to another backbone than the one installed; fit it again.")
        return self.of_features(backbone.features(images))

    def of_features(self, found: Tensor) -> Tensor:
        """Features (B, D) -> (B, classes)."""
        answer: Tensor = (((found - self.centre) * self.scale) @ self.weight + self.bias).softmax(1)
        return answer

    def save(self, path: Path) -> None:
        """Everything in one safetensors file, weights in fp16."""
        tensors = {"weight": self.weight.half(), "bias": self.bias, "centre": self.centre, "scale": self.scale}
        about = {"name": self.name, "classes": json.dumps(self.classes), "accuracy": str(self.accuracy), "of": self.of}
        write_tensors(tensors, path, about)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        tensors, about = read_tensors(path)
        try:
            classes = tuple(json.loads(about["classes"]))
            whole = {key: tensors[key].float() for key in ("weight", "bias", "centre", "scale")}
            wide = len(whole["centre"])
            expected = {"weight": (wide, len(classes)), "bias": (len(classes),), "centre": (wide,), "scale": (wide,)}
            if odd := [key for key, shape in expected.items() if tuple(whole[key].shape) != shape]:
                raise ValueError(f"{', '.join(odd)} does not fit {len(classes)} classes of {wide} features")
            return cls(**whole, name=about["name"], classes=classes, accuracy=float(about["accuracy"]), of=about["of"])
        except (KeyError, ValueError) as error:
            raise ModelError(f"{path} is no whole probe: {error}") from error


def fit(found: Tensor, labels: Tensor, name: str, classes: tuple[str, ...], of: str) -> ProbeJudge:
    """Multinomial logistic regression with a small penalty, by L-BFGS; features (N, D), labels (N,).

    Nothing in it is random, so equal features give equal weights.
    """
    centre, spread = found.mean(0), found.std(0)
    scale = 1 / ((spread + 1e-3) * found.shape[1] ** 0.5)
    inputs = (found - centre) * scale
    weight = torch.zeros(found.shape[1], len(classes), requires_grad=True)
    bias = torch.zeros(len(classes), requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=150, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = functional.cross_entropy(inputs @ weight + bias, labels) + PENALTY * weight.square().sum()
        torch.autograd.backward(loss)
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return ProbeJudge(weight.detach(), bias.detach(), centre, scale, name, classes, 0.0, of)


class Probes(Settings):
    """Where the probes are: one for each axis, `object.safetensors` and `style.safetensors`."""

    folder: Path = Path("models/probes")

    def files(self) -> dict[str, Path]:
        """The probes and the backbone's weights."""
        probes = {axis: self.folder / f"{axis}.safetensors" for axis in ("object", "style")}
        return probes | {"backbone": backbone.weights_file()}

    def open(self, device: str = "cpu") -> Judge:
        """Load the probes; they stay on the CPU."""
        backbone.weights_file()  # a missing extra is said before anything is drawn
        probes = {axis: ProbeJudge.load(self.folder / f"{axis}.safetensors") for axis in ("object", "style")}
        return ByLabel(probes)


PLUGIN = Probes
