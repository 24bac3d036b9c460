"""UCE: cross-attention answers the concept's states like the empty caption's, by least squares.

For each key and value matrix W of cross-attention, W' minimises

    erase * sum |W' c - W c*|^2 + preserve * sum |W' r - W r|^2 + ridge * |W' - W|^2

over the concept's states c with their targets c*, and the states r of the retain set and of the empty caption. The solution is
W' = W (I + X) with X = erase * sum (c* - c) c^T (erase * sum c c^T + preserve * sum r r^T + ridge * I)^-1, one X for all
matrices. Defaults of the authors' code: erase 1, preserve max(0.1, 1 / prompts), ridge 0.5, the concept's name alone, towards
the empty caption. Scaled here: the preserved prompts are those of the retain set, not a list of the paper's. c* stands in the
place of c; the authors count from the last word of the name.
"""

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from ..progress import Progress
from ..settings import Settings
from ..vector import TaskVector
from .base import Material
from .cross_attention import Prompts, States, changed, maps_of, moment

PAPER = "Gandikota et al., 2024, arXiv:2308.14761"


class Uce(Settings):
    """The weights of the three terms."""

    erase: PositiveFloat = 1.0
    preserve: NonNegativeFloat | None = None  # null: max(0.1, 1 / number of preserved prompts)
    ridge: PositiveFloat = 0.5
    prompts: Prompts = "tuning"  # tuning: the compositions that tune are erased as well

    def run(self, material: Material) -> TaskVector:
        """All concepts in one solution."""
        weights = maps_of(material.model)
        step = self.step(States.of(material, self.prompts))
        material.tell(Progress("closed form of uce", 1, 1))
        return changed(material, {name: weight @ step for name, weight in weights.items()})

    def step(self, states: States) -> Tensor:
        """X (D, D)."""
        kept = self.preserve if self.preserve is not None else max(0.1, 1 / (1 + len(states.retain)))
        system = self.erase * moment(states.forget) + kept * (moment(states.retain) + moment(states.null))
        system.diagonal().add_(self.ridge)
        wanted = self.erase * (states.target - states.forget).T @ states.forget
        solved: Tensor = torch.linalg.solve(system, wanted.T)
        return solved.T


PLUGIN = Uce
