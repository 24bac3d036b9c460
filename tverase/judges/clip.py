"""CLIP zero-shot: the labels are texts, and the text closest to the image counts."""

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor
from torch.nn import functional

from ..errors import ConfigError
from .base import Judge
from .folder import local_files, located, opening, version_of, weights_in, whole
from .preprocess import Preprocess
from .scored import Labels, Scored, ScoredSettings, axes_of, require_axes

NAME = "clip"
PAPER = "Radford et al., 2021, arXiv:2103.00020"


class ClipJudge(ScoredSettings):
    """A CLIP model and what it chooses from."""

    model: str  # a folder, or a hub id: openai/clip-vit-large-patch14
    labels: Labels  # a list, or several lists by name if an image shows a label of each
    template: str = "a photo of {}"  # makes a label's text; "{}" is the label alone
    texts: dict[str, str | tuple[str, ...]] = Field(default_factory=dict)  # own texts; of several, the mean counts
    score: Literal["softmax", "cosine"] = "softmax"  # cosine compares with a threshold, not with the other labels

    @field_validator("template")
    @classmethod
    def _has_a_place(cls, template: str) -> str:
        if "{}" not in template:
            raise ValueError("a template needs {} where the label goes")
        return template

    def files(self) -> dict[str, Path]:
        """The model's folder."""
        return local_files(self.model, "clip")

    def open(self, device: str = "cpu") -> Judge:
        """Load the model and encode the labels; half precision on a GPU."""
        axes = axes_of(self.labels)
        require_axes("clip", axes, self.threshold)
        labels = [label for members in axes.values() for label in members]
        if odd := sorted(set(self.texts) - set(labels)):
            raise ConfigError(
                f"clip: there is a text for {odd[0]!r}, which is not a label; labels: {', '.join(labels)}."
            )
        folder = located(self.model)
        name = f"{folder.name if Path(self.model).exists() else self.model}/{version_of(*weights_in(folder))}"
        net = _Clip(folder, device, {label: self._texts(label) for label in labels})
        sizes = [len(members) for members in axes.values()] if self.score == "softmax" else None
        return Scored(
            name, axes, lambda images: net.scores(images, sizes), self.accuracy, self.threshold, self.batch
        )  # fmt: skip

    def _texts(self, label: str) -> tuple[str, ...]:
        own = self.texts.get(label, self.template.replace("{}", label))
        return (own,) if isinstance(own, str) else own


PLUGIN = ClipJudge


class _Clip:
    """A loaded model and one direction for each label."""

    def __init__(self, folder: Path, device: str, texts: dict[str, tuple[str, ...]]) -> None:
        from transformers import CLIPModel, CLIPTokenizerFast

        self.device, self.dtype = device, torch.float16 if device.startswith("cuda") else torch.float32
        self.preprocess = Preprocess.of(folder)
        with opening(f"{folder} could not be opened as a CLIP model"):
            model, info = CLIPModel.from_pretrained(
                folder, dtype=self.dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
            )
            whole(info, folder)
            tokenizer = CLIPTokenizerFast.from_pretrained(folder, local_files_only=True)
        self.model = model.eval().requires_grad_(False).to(device)
        self.scale = float(self.model.logit_scale.exp())
        with torch.no_grad():
            found = [self._direction(label, own, tokenizer) for label, own in texts.items()]
        self.directions = torch.stack(found)

    def _direction(self, label: str, texts: tuple[str, ...], tokenizer: Any) -> Tensor:
        most = self.model.config.text_config.max_position_embeddings
        if not texts or not all(text.strip() for text in texts):
            raise ConfigError(f"clip: the text of label {label!r} is empty.")
        tokens = tokenizer(list(texts), padding=True, truncation=False, return_tensors="pt")
        if tokens.input_ids.shape[1] > most:
            raise ConfigError(
                f"clip: the text of label {label!r} has {tokens.input_ids.shape[1]} tokens; the model takes {most}."
            )
        states = self.model.text_model(**tokens.to(self.device)).pooler_output
        each = functional.normalize(self.model.text_projection(states).float(), dim=1)
        return functional.normalize(each.mean(0), dim=0)

    def scores(self, images: Tensor, sizes: list[int] | None) -> Tensor:
        """Softmax within axes of these sizes, or the cosines."""
        pixels = self.preprocess(images.to(self.device)).to(self.dtype)
        states = self.model.vision_model(pixel_values=pixels).pooler_output
        found = functional.normalize(self.model.visual_projection(states).float(), dim=1)
        cosines = found @ self.directions.T
        if sizes is None:
            return cosines.clamp(0, 1)
        return torch.cat([(self.scale * part).softmax(1) for part in torch.split(cosines, sizes, 1)], 1)
