"""Adaptive rounds: words learned against the very model that is on trial, from starts at every angle to the concept."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .attacks.concept_inversion import ConceptInversion, concept_inversion
from .concepts import Concept
from .inversion.diverse import Invert
from .inversion.run import words_of
from .rng import generator
from .strength import Learn
from .trial import ModelTrial


def learner(
    trial: ModelTrial,
    concepts: Sequence[Concept],
    latents: Mapping[str, Tensor],
    attack: ConceptInversion,
    settings: Invert,
    shares: Sequence[float] = (1.0,),
) -> Learn:
    """What learns `attack.words` words for each concept against `trial` at a strength, and makes them inputs of the trial.

    latents (N, ...): of each concept's images, by its name. shares: of the strength, which the words are learned against in
    turn.
    """
    counts = [len(range(place, attack.words, len(shares))) for place in range(len(shares))]
    parts = [(s, attack.model_copy(update={"words": n})) for s, n in zip(shares, counts, strict=True) if n]

    def learn(alpha: float, number: int) -> list[str]:
        names = []
        for share, part in parts:
            model = trial.at(share * alpha)
            for concept in concepts:
                space = words_of(trial.model, concept, settings)
                rng = generator(trial.seed, f"{trial.purpose}/{concept.name}/adaptive {number}/{share:g}")
                *_, last = concept_inversion(model, space, concept.noun, latents[concept.name], part, rng)
                with torch.no_grad():
                    found = space.cond(last.points)
                for word, cond in enumerate(found):
                    name = f"{concept.slug}/learned/{number}/{share:g}/{word}"
                    trial.inputs.cond[name], trial.inputs.concept[name] = cond[None], concept
                    trial.inputs.points[name] = last.points[word].detach()
                    names.append(name)
        return names

    return learn
