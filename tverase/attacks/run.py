"""Several attacks on one model, for each concept."""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from ..concepts import Concept
from ..context import Context
from ..models.base import Model
from ..rng import generator
from .base import Attack, Finding, Target, all_findings, owning


def attack(
    context: Context, model: Model, latents: Mapping[str, Tensor], attacks: Sequence[Attack], purpose: str
) -> Iterator[tuple[Concept, Finding]]:
    """Every finding against `model`, with its concept.

    latents (N, ...): images of each concept by its name, which the attacker owns. purpose: names the random numbers.
    """
    for concept in context.concepts:
        rng = generator(context.seed, purpose.format(concept=concept.name))
        known = owning(latents[concept.name]), context.invert, None, 1, context.judge, context.sampling
        for found in all_findings(attacks, Target(model, context.model, concept, rng, *known)):
            yield concept, found
