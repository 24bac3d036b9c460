"""RECE: UCE in rounds, each against the closed-form embeddings that draw the concept after the last round.

After a round with matrices W', the embedding c' that minimises

    sum_W |W' c' - W c|^2 + adversary * |c'|^2

is c' = (adversary * I + sum W'^T W')^-1 sum W'^T W c, for every state c of the concept. The next round erases c' like a concept,
from W' on. Defaults of the authors' code for objects: 5 rounds, ridge 0.1, preserve 0.1, adversary 1e-3. Scaled here: as in
`uce`; c' is made of the states that belong to the concept alone, where the authors take all of its name. Each round erases c
beside c'. With c' alone, as in the authors' code, the rounds bring c back in states of 128 dimensions: the least squares of a
round hold nothing of the round before but its matrices.
"""

from dataclasses import replace

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from ..progress import Progress
from ..vector import TaskVector
from .base import Material
from .cross_attention import States, changed, maps_of, moment
from .uce import Uce

PAPER = "Gong et al., 2024, arXiv:2407.12383"


class Rece(Uce):
    """The settings of `uce`, the rounds, and the weight of the adversarial embeddings' length."""

    preserve: NonNegativeFloat | None = 0.1
    ridge: PositiveFloat = 0.1
    rounds: PositiveInt = 5
    adversary: PositiveFloat = 1e-3

    def run(self, material: Material) -> TaskVector:
        """UCE, then `rounds` rounds. All matrices change by the same factor (D, D), so that one is enough."""
        weights, states = maps_of(material.model), States.of(material, self.prompts)
        gram = moment(torch.cat(list(weights.values())))
        identity = torch.eye(len(gram), dtype=gram.dtype)
        factor = identity + self.step(states)
        for number in range(1, self.rounds + 1):
            found = adversarial(states.forget, factor, gram, self.adversary)
            both = replace(
                states, forget=torch.cat([states.forget, found]), target=torch.cat([states.target, states.target])
            )
            factor = factor @ (identity + self.step(both))
            material.tell(Progress("rounds of rece", number, self.rounds))
        return changed(material, {name: weight @ (factor - identity) for name, weight in weights.items()})


PLUGIN = Rece


def adversarial(forget: Tensor, factor: Tensor, gram: Tensor, ridge: float) -> Tensor:
    """The embeddings (N, D) that bring `forget` (N, D) back: W' = W factor (D, D), and gram (D, D) is sum W^T W."""
    system = factor.T @ gram @ factor
    system.diagonal().add_(ridge)
    found: Tensor = torch.linalg.solve(system, factor.T @ gram @ forget.T)
    return found.T
