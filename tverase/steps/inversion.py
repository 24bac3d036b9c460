"""Diverse Inversion of every concept: three disjoint sets of embeddings that each still draw it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..context import Context
from ..images import to_bytes
from ..inversion.run import InversionRun, template_of
from ..inversion.sets import ROLES, InversionSet, by_bin, per_accepted
from .images import Images


@dataclass(frozen=True)
class Inversions:
    """The sets of embeddings by role, pictures (n, 3, H, W) of what each draws as uint8, and evaluations by concept.

    The set `tune` may change the vector, `validate` only accepts a strength, `report` only scores.
    """

    sets: Mapping[str, InversionSet]
    pictures: Mapping[str, Tensor]
    costs: Mapping[str, int]

    def index(self, context: Context, written: Mapping[str, Mapping[str, str]] | None = None) -> dict[str, Any]:
        """Tried and accepted embeddings with their cost, as JSON. written: more about an embedding, by its name."""
        settings, more = context.invert, written or {}
        everything = [(role, item) for role in ROLES for item in self.sets[role].found]
        return {
            "space": settings.space,
            "tokens": settings.tokens,
            "templates": {concept.name: template_of(concept, settings) for concept in context.concepts},
            "by_bin": {role: by_bin(self.sets[role].found) for role in ROLES},
            "found": [{"role": role, **vars(item), **more.get(item.name, {})} for role, item in everything],
            "evaluations": context.model.meter.evaluations,
            "evaluations_per_accepted": {
                name: per_accepted(cost, [item for _, item in everything if item.concept == name])
                for name, cost in self.costs.items()
            },
        }


def invert(context: Context, images: Images, checkpoints: Path | None = None) -> Inversions:
    """Search embeddings that draw the concepts. checkpoints: a folder from which a call that was stopped continues."""
    found: dict[str, InversionSet] = {}
    pictures: dict[str, Tensor] = {}
    costs: dict[str, int] = {}
    latents = images.forget(context)
    for concept in context.concepts:
        search = InversionRun(context.model, concept, context.invert, context.judge, context.sampling, context.seed)
        checkpoint = checkpoints / f"{concept.slug}.safetensors" if checkpoints else None
        for role, inversions in search.run(latents[concept.name], context.tell, checkpoint).items():
            found[role] = found[role] + inversions if role in found else inversions
        pictures |= {name: to_bytes(drawn) for name, drawn in search.shown.items()}
        costs[concept.name] = search.cost
    return Inversions(found, pictures, costs)


def load_sets(folder: Path, roles: Iterable[str] = ROLES) -> dict[str, InversionSet]:
    """The sets that the step `invert` has written into a folder."""
    return {role: InversionSet.load(folder / f"{role}.safetensors") for role in roles}
