"""An image classifier of transformers or timm, whose classes are mapped to labels if need be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ..errors import ConfigError, ModelError, unknown
from ..files import read_tensors
from .base import AXIS, NONE, Judge
from .folder import check_weights, local_files, located, opening, version_of, weights_in, whole
from .preprocess import Preprocess
from .scored import Scored, ScoredSettings

NAME = "classifier"
TIMM = "timm:"


class ClassifierJudge(ScoredSettings):
    """A classifier and what its classes mean.

    Without a threshold the network's first choice counts. With one, a label's classes add up.
    """

    model: str  # a folder, a hub id, or timm:NAME with `weights`
    weights: Path | None = None  # of timm: a safetensors file
    classes: tuple[str, ...] = ()  # of timm: the classes in the order of the outputs
    mapping: dict[str, tuple[str, ...]] = Field(default_factory=dict)  # label -> classes; the others become `none`

    @model_validator(mode="after")
    def _timm_is_whole(self) -> "ClassifierJudge":
        timm = self.model.startswith(TIMM)
        if timm and (self.weights is None or not self.classes):
            raise ValueError("timm:NAME needs `weights`, a safetensors file, and `classes`, its outputs in order")
        if not timm and (self.weights is not None or self.classes):
            raise ValueError("`weights` and `classes` belong to timm:NAME; a folder has its own")
        return self

    def files(self) -> dict[str, Path]:
        """The model's folder, or timm's weights."""
        where = str(self.weights) if self.weights else self.model
        return local_files(where, "classifier")

    def open(self, device: str = "cpu") -> Judge:
        """Load the network; half precision on a GPU."""
        if self.weights:
            name, classes, probabilities = _timm(self.model, self.weights, self.classes, device)
        else:
            name, classes, probabilities = _transformers(self.model, device)
        labels, score = self._labelled(name, classes, probabilities)
        return Scored(name, {AXIS: labels}, score, self.accuracy, self.threshold, self.batch)

    def _labelled(
        self, name: str, classes: tuple[str, ...], probabilities: Callable[[Tensor], Tensor]
    ) -> tuple[tuple[str, ...], Callable[[Tensor], Tensor]]:
        groups = dict(self.mapping) or {one: (one,) for one in classes}
        used = {one for group in groups.values() for one in group}
        if odd := sorted(used - set(classes)):
            raise ConfigError(f"{name}: {unknown('class', odd[0], classes)}.")
        if rest := tuple(one for one in classes if one not in used):
            if NONE in groups:
                raise ConfigError(f"{name}: the label {NONE!r} is given to the classes that the mapping leaves out.")
            groups[NONE] = rest
        columns = [[i for i, one in enumerate(classes) if one in group] for group in groups.values()]

        def score(images: Tensor) -> Tensor:
            found = probabilities(images)
            parts = [found[:, some] for some in columns]
            added = self.threshold is not None
            return torch.stack([part.sum(1).clamp(max=1) if added else part.amax(1) for part in parts], 1)

        return tuple(groups), score


PLUGIN = ClassifierJudge
Opened = tuple[str, tuple[str, ...], Callable[[Tensor], Tensor]]


def _dtype(device: str) -> torch.dtype:
    return torch.float16 if device.startswith("cuda") else torch.float32


def _transformers(where: str, device: str) -> Opened:
    from transformers import AutoModelForImageClassification

    folder, dtype = located(where), _dtype(device)
    preprocess = Preprocess.of(folder)
    with opening(f"{folder} could not be opened as an image classifier"):
        net, info = AutoModelForImageClassification.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        whole(info, folder)
    net = net.eval().requires_grad_(False).to(device)
    name = f"{folder.name if Path(where).exists() else where}/{version_of(*weights_in(folder))}"
    classes = tuple(net.config.id2label[i] for i in range(net.config.num_labels))
    several = net.config.problem_type == "multi_label_classification"

    def probabilities(images: Tensor) -> Tensor:
        logits = net(pixel_values=preprocess(images.to(device)).to(dtype)).logits.float()
        found: Tensor = logits.sigmoid() if several else logits.softmax(1)
        return found

    return name, classes, probabilities


def _timm(model: str, weights: Path, classes: tuple[str, ...], device: str) -> Opened:
    try:
        import timm
    except ImportError as error:
        raise ConfigError("judge classifier: timm is not installed; `pip install 'tverase[timm]'`.") from error
    name = model.removeprefix(TIMM)
    if not timm.is_model(name):
        raise ConfigError(f"judge classifier: {unknown('timm model', name, timm.list_models())[:500]}.")
    check_weights(weights)
    with opening(f"{weights} could not be loaded into timm's {name}"):
        net = timm.create_model(name, pretrained=False, num_classes=len(classes))
        net.load_state_dict(read_tensors(weights)[0])
    net = net.eval().requires_grad_(False).to(device, _dtype(device))
    preprocess = _timm_preprocess(timm.data.resolve_model_data_config(net))

    def probabilities(images: Tensor) -> Tensor:
        found: Tensor = net(preprocess(images.to(device)).to(_dtype(device))).float().softmax(1)
        return found

    return f"{name}/{version_of(weights)}", classes, probabilities


def _timm_preprocess(config: dict[str, Any]) -> Preprocess:
    """timm's `input_size`, `crop_pct`, `interpolation`, `mean` and `std`."""
    high, wide = config["input_size"][1:]
    if high != wide or config["interpolation"] not in {"bicubic", "bilinear"}:
        raise ModelError(f"timm's input of {high} x {wide}, {config['interpolation']}, is not supported.")
    edge = int(high / config["crop_pct"])
    return Preprocess(edge, (high, wide), tuple(config["mean"]), tuple(config["std"]), config["interpolation"])
