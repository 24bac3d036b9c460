"""Retention of a retain prompt: its labels, as the judge sees them, or agreement with the base model's image.

Agreement compares the images of both models from the same noise. It is used for prompts without labels, as with a judge
that detects the concept only. It is not recognition.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from .concepts import Prompt
from .judges.base import Judge, as_judge, met, require_labels

Thumbnails = Tensor  # (B, 256), each of mean zero and length one
AGREEMENT = "agreement"  # the axis of prompts without labels
AGREE = 0.8  # correlation of two thumbnails from which their images agree
SIDE = 16


def thumbnails(images: Tensor) -> Thumbnails:
    """Images (B, 3, H, W) as grey pictures of 16 x 16, of mean zero and length one."""
    small = functional.adaptive_avg_pool2d(images.mean(1, keepdim=True), SIDE).flatten(1)
    return functional.normalize(small - small.mean(1, keepdim=True), dim=1)


def agrees(images: Tensor, base: Thumbnails) -> Tensor:
    """Whether each image agrees with the base model's from the same noise: bool (B,)."""
    mine = thumbnails(images)
    flat = ~mine.any(1) & ~base.any(1)  # two images without any pattern agree
    return flat | ((mine * base).sum(1) >= AGREE)


def kept(images: Tensor, prompts: Sequence[Prompt], judge: Judge, base: Thumbnails | None) -> Tensor:
    """Whether image i shows all labels of prompt i, or agrees with the base model's if it has none: bool (B,)."""
    seen = by_axis(images, prompts, judge, base)
    return torch.stack(list(seen.values())).all(0)


def by_axis(images: Tensor, prompts: Sequence[Prompt], judge: Judge, base: Thumbnails | None) -> dict[str, Tensor]:
    """The same for each axis of the judge: bool (B,), True where a prompt asks for nothing of the axis."""
    asked = wanted(prompts, judge)
    seen = {axis: met(judge, images, labels) for axis, labels in asked.items() if axis != AGREEMENT}
    if AGREEMENT in asked:
        same = agrees(images, base) if base is not None else torch.ones(len(prompts), dtype=torch.bool)
        seen[AGREEMENT] = same | torch.tensor([bool(prompt.labels) for prompt in prompts])
    return seen


def wanted(prompts: Sequence[Prompt], judge: Judge) -> dict[str, list[tuple[str, ...]]]:
    """Axis to the labels of it that each prompt asks for; axes that no prompt asks for are left out."""
    require_labels(judge, [label for prompt in prompts for label in prompt.labels])
    axes = as_judge(judge).axes
    home = axis_of(axes)
    asked = {
        axis: [tuple(label for label in prompt.labels if home[label] == axis) for prompt in prompts] for axis in axes
    }
    found = {axis: labels for axis, labels in asked.items() if any(labels)}
    if not all(prompt.labels for prompt in prompts):
        found[AGREEMENT] = [()] * len(prompts)
    return found


def axis_of(axes: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Label to its axis; a label of several axes belongs to the first."""
    home: dict[str, str] = {}
    for axis, labels in axes.items():
        for label in labels:
            home.setdefault(label, axis)
    return home
