"""What holds a fine-tuning near the weights that it began with, so that tau is small where the images do not need it.

Both pulls come after the optimiser's step and apart from its gradient, as the decay of AdamW does (Loshchilov & Hutter, 2019,
arXiv:1711.05101). As a term of the loss each would be divided by the size of the gradient, and L1 would swing around zero
instead of reaching it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softshrink

from .vector import StateDict


@dataclass(frozen=True)
class Anchor:
    """theta_0, and how strongly it pulls.

    decay: of the distance to theta_0, a share of `rate` a step (L2-SP, Li et al., 2018, arXiv:1802.01483). A decay towards
    zero would write a shrinking of all weights into tau, which has nothing to do with the concept.
    l1: the proximal step of an L1 norm of the distance (ISTA, Daubechies et al., 2004, arXiv:math/0307152), in steps of the
    optimiser: a weight stays at theta_0 while Adam's step, mean over root mean square of its gradient, is below `l1`.
    """

    weights: StateDict
    decay: float = 0.0
    l1: float = 0.0

    @torch.no_grad()
    def pull(self, parameters: Mapping[str, Tensor], rate: float) -> None:
        """Move the parameters towards theta_0, in place; what L1 brings there is there to the bit."""
        for name, parameter in parameters.items():
            start = self.weights[name]
            away = (parameter - start) * (1 - rate * self.decay)
            parameter.copy_(start + softshrink(away, rate * self.l1))

    @torch.no_grad()
    def settled(self, parameters: StateDict, average: StateDict) -> dict[str, Tensor]:
        """The averages; theta_0 where L1 holds the parameter now, because a mean over its way back is near and not there."""
        if not self.l1:
            return dict(average)
        found = {}
        for name, parameter in parameters.items():
            start = self.weights[name]
            found[name] = torch.where(parameter == start, start, average[name])
        return found
