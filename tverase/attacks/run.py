"""Several attacks on one model, for each concept."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from ..concepts import Concept
from ..context import Context
from ..errors import ConfigError
from ..models.base import Model
from ..registry import built
from ..rng import generator
from .base import Attack, Finding, Target, all_findings, owning

NO_INPUT = 6  # from this input kind on, findings are images or weights


def searching(specs: Iterable[Any], where: str) -> list[Attack]:
    """The attacks of these specifications; a `ConfigError` for one whose findings are images and no inputs."""
    found: list[Attack] = [built("attack", spec) for spec in specs]
    for spec, one in zip(specs, found, strict=True):
        if getattr(one, "input_kind", 0) >= NO_INPUT:
            raise ConfigError(
                f"{where}.attacks: {spec} finds images or weights and no inputs; name an attack of an input kind below "
                f"{NO_INPUT} (docs/attacks.md)."
            )
    return found


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
