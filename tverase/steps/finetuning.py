"""Fine-tuning on the images of each concept."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from .. import finetune
from ..concepts import run_name
from ..context import Context
from ..models.base import repeated
from ..progress import Progress
from ..vector import StateDict
from ..vectors.copies import copy_name
from .images import Images


def fine_tune(context: Context, images: Images, settings: finetune.FineTune) -> dict[str, StateDict]:
    """Fine-tune on the concepts' images without a caption; the weights by the fine-tune's name."""
    return dict(fine_tunes(context, images, settings))


def fine_tunes(
    context: Context, images: Images, settings: finetune.FineTune, checkpoints: Path | None = None
) -> Iterator[tuple[str, StateDict]]:
    """The same, one fine-tune after the other. checkpoints: a folder from which a call that was stopped continues."""
    model = context.model
    for name, slugs in learned(context, settings).items():
        parts = [images.tensors[f"latents/{slug}"] for slug in slugs]
        latents, captions = torch.cat(parts).to(model.device), _captions(context, settings, slugs, parts)
        for copy in (copy_name(name, number) for number in range(settings.copies)):
            weights = model.weights()
            checkpoint = checkpoints / f"{copy}.safetensors" if checkpoints else None
            purpose = f"finetune/{copy}"
            training = finetune.fine_tune(model, latents, settings, context.seed, purpose, checkpoint, captions)
            for step, (loss, weights) in enumerate(training, 1):  # noqa: B007 - the last weights are theta_ft
                context.tell(Progress(f"fine-tuning on {copy}", step, settings.steps, f"loss {loss:.3f}"))
            yield copy, {key: weight.detach().cpu() for key, weight in weights.items()}


def learned(context: Context, settings: finetune.FineTune) -> dict[str, list[str]]:
    """Name of a fine-tune to the slugs whose images it learns; a joint one of one concept is that concept's own."""
    slugs = [concept.slug for concept in context.concepts]
    return {run_name(context.concepts): slugs} if settings.joint else {slug: [slug] for slug in slugs}


def _captions(
    context: Context, settings: finetune.FineTune, slugs: list[str], parts: Sequence[Tensor]
) -> Tensor | None:
    """The concept's name for each latent, if the settings ask for it."""
    if not settings.named:
        return None
    names = {concept.slug: concept.names[0] for concept in context.concepts}
    rows = [repeated(context.model.encode([names[slug]]), len(part)) for slug, part in zip(slugs, parts, strict=True)]
    return torch.cat(rows)
