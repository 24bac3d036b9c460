"""Adaptive rounds: inputs that attacks find against the very model on trial, and against weaker edits."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from .attacks.base import Attack, Target, all_findings, owning
from .concepts import Concept
from .inversion.diverse import Invert
from .rng import generator
from .strength import Learn
from .trial import ModelTrial

LEARNED = "/learned/"  # in the name of every input that an adaptive round has found


def learner(
    trial: ModelTrial,
    concepts: Sequence[Concept],
    latents: Mapping[str, Tensor],
    attacks: Sequence[Attack],
    settings: Invert,
    shares: Sequence[float] = (1.0,),
) -> Learn:
    """What attacks `trial` at a strength, for each concept, and makes what is found inputs of the trial.

    latents (N, ...): of each concept's images, by its name: what the attacker owns. shares: of the strength, each attacked in
    turn.
    """

    def learn(alpha: float, number: int) -> list[str]:
        names = []
        for share in shares:
            model = trial.at(share * alpha)
            for concept in concepts:
                rng = generator(trial.seed, f"{trial.purpose}/{concept.name}/adaptive {number}/{share:g}")
                known = owning(latents[concept.name]), settings, None, 1, trial.judge, trial.sampling
                target = Target(model, trial.model, concept, rng, *known)
                for word, found in enumerate(all_findings(attacks, target)):
                    name = f"{concept.slug}{LEARNED}{number}/{share:g}/{word}"
                    trial.inputs.cond[name], trial.inputs.concept[name] = found.cond, concept
                    if found.point is not None:
                        trial.inputs.points[name] = found.point
                    names.append(name)
        return names

    return learn
