"""Inputs that a repair holds: as diverse as they are cheap, because whoever holds a few loses the rest."""

import torch
from torch import Tensor

from .attacks.concept_inversion import ConceptInversion, concept_inversion
from .concepts import Concept
from .inversion.diverse import Invert
from .inversion.run import space_of, spaces_of
from .models.base import Model, in_turn
from .models.text2image import TextToImage
from .trial import NAMES


def held(
    model: TextToImage, concept: Concept, points: Tensor, settings: Invert, count: int, rng: torch.Generator
) -> Tensor:
    """Inputs that have to stay away (3 * count, T, D), known before the repair begins.

    Names and compositions that tune; the embeddings `points` (K, E) that tune, in many templates; random embeddings on
    the concept's side, where its own is nearer than a stranger's. The space is that of the `settings`.
    """
    kinds = [model.encode([*concept.names[:NAMES], *concept.tuning])]
    if len(points):
        kinds.append(in_templates(model, concept, points, settings))
    space = space_of(model, concept, settings)
    cosine = 0.2 + 0.79 * torch.rand(count, generator=rng)
    kinds.append(space.cond(space.start(space.anchor(concept.noun), cosine, cosine, rng)).detach())
    return torch.cat([in_turn(kind, count) for kind in kinds])


def relearned(
    model: TextToImage,
    attacked: Model,
    concept: Concept,
    latents: Tensor,
    settings: Invert,
    attack: ConceptInversion,
    count: int,
    rng: torch.Generator,
) -> Tensor:
    """Words learned against `attacked`, in many templates, or states (count, T, D). model: has the text encoder."""
    *_, last = concept_inversion(attacked, space_of(model, concept, settings), concept.noun, latents, attack, rng)
    return in_turn(in_templates(model, concept, last.points, settings), count)


def in_templates(model: TextToImage, concept: Concept, points: Tensor, settings: Invert) -> Tensor:
    """Each of the embeddings (K, E) in each of the concept's templates (templates * K, T, D); states as they are."""
    return torch.cat([space.cond(points) for space in spaces_of(model, concept, settings)]).detach()
