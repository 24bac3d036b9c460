"""The forget set of hardening: inputs that must not draw the concept. Diverse, because a few do not generalise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..attacks.base import Finding
from ..concepts import Concept
from ..context import Context
from ..inversion.run import space_of, spaces_of
from ..inversion.sets import InversionSet
from ..models.base import Conditioning, in_turn
from ..rng import generator
from ..trial import NAMES
from .settings import Harden

# Random embeddings are up to REACH times as long as a usual one, and findings are varied between these shares of their
# length: an embedding grows as it is learned, and a longer attack ends further out.
REACH, STRETCH = 12.0, (0.8, 1.6)


@dataclass(frozen=True)
class ForgetRetain:
    """The data of both teachers.

    retain_latents (N, ...), retain_cond (N, ...): the retain set, with the conditioning of each latent.
    forget_latents (M, ...): images of each concept, by its name. forget_cond (K, ...): inputs that ask for the concepts.
    Pairs of these two are drawn at random.
    """

    retain_latents: Tensor
    retain_cond: Conditioning
    forget_latents: Mapping[str, Tensor]
    forget_cond: Conditioning

    @cached_property
    def all_forget_latents(self) -> Tensor:
        """The images of all concepts in one tensor."""
        return torch.cat(list(self.forget_latents.values()))


def forget_set(context: Context, tune: InversionSet, settings: Harden) -> Conditioning:
    """The inputs that ask for the concepts: prompts, embeddings of `tune` and random embeddings."""
    return torch.cat([forget_inputs(context, c, _points(context, c, tune), settings.inputs) for c in context.concepts])


def _points(context: Context, concept: Concept, tune: InversionSet) -> Tensor:
    return tune.accepted(concept.name).points.to(context.model.device)


def forget_inputs(context: Context, concept: Concept, points: Tensor, count: int) -> Conditioning:
    """`count` inputs of each kind: prompts; the embeddings `points` (K, E) in many templates; random embeddings.

    Random embeddings are nearer to the concept's own than a stranger's is and of every length. A space that can be covered
    adds points of the whole of it.
    """
    model, rng = context.model, generator(context.seed, f"harden/{concept.name}")
    kinds = [model.encode([*concept.names[:NAMES], *concept.tuning])]
    if len(points):
        kinds.append(torch.cat([s.cond(points) for s in spaces_of(model, concept, context.invert)]).detach())
    space = space_of(model, concept, context.invert)
    cosine = 0.2 + 0.79 * torch.rand(count, generator=rng)
    random = space.start(space.anchor(concept.noun), cosine, cosine, rng)
    kinds.append(space.cond(space.stretched(random, REACH ** torch.rand(count, 1, generator=rng))).detach())
    if len(anywhere := space.anywhere(count, rng)):
        kinds.append(space.cond(anywhere).detach())
    return torch.cat([in_turn(kind, count) for kind in kinds])


def varied(
    context: Context, found: Sequence[tuple[Concept, Finding]], settings: Harden, rng: torch.Generator
) -> Conditioning:
    """The findings of a round as `settings.inputs` inputs for each concept: some as they are, some of other lengths."""
    rows = [context.model.null[:0]]
    for concept in context.concepts:
        mine = [finding for owner, finding in found if owner.name == concept.name]
        points = [finding.point for finding in mine if finding.point is not None]
        if points:
            rows.append(_varied(context, concept, torch.stack(points), settings, rng))
        rows += [in_turn(finding.cond, settings.inputs) for finding in mine if finding.point is None]
    return torch.cat(rows)


def _varied(context: Context, concept: Concept, points: Tensor, settings: Harden, rng: torch.Generator) -> Conditioning:
    """Embeddings (K, E): a share of the rows just as they were found, the others of many lengths in many templates."""
    own = round(settings.as_found * settings.inputs)
    just = space_of(context.model, concept, context.invert).cond(points).detach()
    spaces, count, (low, high) = spaces_of(context.model, concept, context.invert), settings.inputs - own, STRETCH
    each = -(-count // len(spaces))
    # Turn after turn goes on where the last one ended, so that every embedding comes in many templates.
    turns = torch.split(in_turn(torch.arange(len(points)), each * len(spaces)), each) if each else ()
    kinds = [
        space.cond(space.stretched(points[turn], low + (high - low) * torch.rand(each, 1, generator=rng))).detach()
        for space, turn in zip(spaces, turns, strict=bool(each))
    ]
    return torch.cat([torch.cat([just[:0], *kinds])[:count], in_turn(just, own)])
