"""Drawing on the base model: each concept, and the retain set."""

from typing import TYPE_CHECKING

from ..concepts import joint
from ..concepts.check import check_prompts
from ..context import Context
from ..drawing import draw_concept, learned_images, require_drawn, retain_images
from ..images import to_bytes
from ..judges.base import require_labels
from .images import Images

if TYPE_CHECKING:
    from ..config import MakeImages

SHOWN = 16  # pictures of each concept


def make_images(context: Context, settings: "MakeImages") -> Images:
    """Draw each concept and the retain set on the base model; `NothingToErase` if the judge does not see a concept."""
    model, sampling, seed = context.model, context.sampling, context.seed
    check_prompts(model, context.concepts)
    require_labels(context.judge, [label for p in joint(context.concepts) for label in p.labels])
    tensors, rates = {}, {}
    for concept in context.concepts:
        drawn = draw_concept(model, concept, settings.images, seed, sampling, context.tell)
        bound = require_drawn(concept, drawn.images, context.judge, settings.at_least)
        learned = learned_images(model, concept, drawn, sampling.batch)
        tensors[f"latents/{concept.slug}"] = learned.latents
        tensors[f"shown/{concept.slug}"] = to_bytes(learned.images[:SHOWN])
        rates[concept.slug] = f"{bound.successes}/{bound.trials}"
    prompts, tensors["latents/retain"] = retain_images(model, context.concepts, settings.retain_images, seed, sampling)
    return Images(tensors, tuple(prompts), rates)
