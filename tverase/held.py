"""Inputs that a repair holds: as diverse as they are cheap, because whoever holds a few loses the rest."""

import torch
from torch import Tensor

from .concepts import Concept
from .inversion.diverse import Invert
from .inversion.run import space_of, spaces_of
from .models.base import Model, in_turn
from .trial import NAMES

# Random embeddings are held at up to so many times the length of a usual one, and learned ones at these shares of their own:
# an embedding grows as it is learned, and an attack that goes on for longer ends further out.
REACH, STRETCH = 12.0, (0.8, 1.6)


def held(model: Model, concept: Concept, points: Tensor, settings: Invert, count: int, rng: torch.Generator) -> Tensor:
    """Inputs that have to stay away (`count` of each kind, T, D), known before the repair begins.

    Names and compositions that tune; the embeddings `points` (K, E) that tune, in many templates; random embeddings on
    the concept's side, where its own is nearer than a stranger's, of every length; points of the whole space, if it can be
    covered. The space is that of the `settings`.
    """
    kinds = [model.encode([*concept.names[:NAMES], *concept.tuning])]
    if len(points):
        kinds.append(in_templates(model, concept, points, settings))
    space = space_of(model, concept, settings)
    cosine = 0.2 + 0.79 * torch.rand(count, generator=rng)
    random = space.start(space.anchor(concept.noun), cosine, cosine, rng)
    kinds.append(space.cond(space.stretched(random, REACH ** torch.rand(count, 1, generator=rng))).detach())
    if len(anywhere := space.anywhere(count, rng)):
        kinds.append(space.cond(anywhere).detach())
    return torch.cat([in_turn(kind, count) for kind in kinds])


def kept(
    model: Model,
    concept: Concept,
    points: Tensor,
    settings: Invert,
    count: int,
    rng: torch.Generator,
    as_learned: float,
) -> Tensor:
    """What is held of words that were learned (K, E): (count, T, D).

    A share of them just as they were learned, the others of many lengths in many templates.
    """
    own = round(as_learned * count)
    just = space_of(model, concept, settings).cond(points).detach()
    spread = of_many_lengths(model, concept, points, settings, count - own, rng) if own < count else just[:0]
    return torch.cat([spread, in_turn(just, own)])


def of_many_lengths(
    model: Model, concept: Concept, points: Tensor, settings: Invert, count: int, rng: torch.Generator
) -> Tensor:
    """Words that were learned (K, E), of many lengths in many templates, or states (count, T, D)."""
    spaces = spaces_of(model, concept, settings)
    (low, high), each = STRETCH, -(-count // len(spaces))
    # Turn after turn goes on where the last one ended, so that every word comes in many templates.
    turns = torch.split(in_turn(torch.arange(len(points)), each * len(spaces)), each)
    lengths = low + (high - low) * torch.rand(len(spaces), each, 1, generator=rng)
    kinds = [s.cond(s.stretched(points[turn], length)) for s, turn, length in zip(spaces, turns, lengths, strict=True)]
    return torch.cat(kinds).detach()[:count]


def in_templates(model: Model, concept: Concept, points: Tensor, settings: Invert) -> Tensor:
    """Each of the embeddings (K, E) in each of the concept's templates (templates * K, T, D); states as they are."""
    return torch.cat([space.cond(points) for space in spaces_of(model, concept, settings)]).detach()
