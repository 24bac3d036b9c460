"""From images to the task vector: fine-tuned weights, and their difference from the base weights."""

from collections.abc import Mapping

from .. import build
from ..context import Context
from ..erasers.base import Eraser, Material
from ..errors import ConfigError
from ..vector import StateDict, TaskVector
from ..vectors.activations import weightable, weighted
from .images import Images


def build_vector(
    context: Context,
    finetuned: Mapping[str, StateDict],
    images: Images | None = None,
    settings: build.BuildVector | None = None,
) -> TaskVector:
    """The task vector of fine-tuned weights, of all concepts together. images: only a weighting needs them.

    A network without linear and convolution layers keeps the plain vector.
    """
    model, settings = context.model, settings or build.BuildVector()
    base = {name: weight.cpu() for name, weight in model.weights().items()}
    vector = build.build_vector(base, {name: finetuned[name] for name in sorted(finetuned)})
    if settings.weighting == "none" or images is None or not weightable(model, vector):
        return vector
    latents, seed = images.forget(context), context.seed
    pairs = [(latents[c.name], model.encode([*c.names, *c.tuning])) for c in context.concepts]
    forget = build.forget_samples(model, pairs, seed)
    retain = build.retain_samples(model, *images.retain(context), seed)
    return weighted(model, vector, forget, retain, settings.retain_weight, seed, context.tell)


def erased_by(context: Context, eraser: Eraser, images: Images) -> TaskVector:
    """The vector of another eraser, from the same images."""
    latents, retain = images.forget(context), images.retain(context)
    found = eraser.run(Material(context.model, context.concepts, latents, *retain, context.seed, context.tell))
    if not isinstance(found, TaskVector):
        raise ConfigError(
            f"{type(eraser).__name__} is a guard: it edits no weights that could be shipped; compare it with "
            "`tverase bench`, or choose an eraser that returns a task vector."
        )
    return found
