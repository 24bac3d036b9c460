"""What holds a fine-tuning near the weights that it began with, so that tau is small where the images do not need it.

The pull comes after the optimiser's step and apart from its gradient, as the decay of AdamW does (Loshchilov & Hutter, 2019,
arXiv:1711.05101). It leads to theta_0 (L2-SP, Li et al., 2018, arXiv:1802.01483). A decay towards zero would write a shrinking
of all weights into tau, which has nothing to do with the concept.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .vector import StateDict


@dataclass(frozen=True)
class Anchor:
    """theta_0, and the decay: the distance to it shrinks by `rate` times the decay in each step."""

    weights: StateDict
    decay: float

    @torch.no_grad()
    def pull(self, parameters: Mapping[str, Tensor], rate: float) -> None:
        """Move the parameters towards theta_0, in place."""
        for name, parameter in parameters.items():
            parameter.lerp_(self.weights[name], rate * self.decay)
