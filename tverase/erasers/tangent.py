"""The tangent model: the denoiser to first order around theta_0.

f_lin(x; theta) = f(x; theta_0) + J(x; theta_0) (theta - theta_0) (Ortiz-Jimenez et al., 2023, arXiv:2305.12827). J times the
change is a forward-mode derivative (torch.func.jvp). The gradient in theta is J^T times that of the answer: one ordinary
backward pass at theta_0.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..models.base import Conditioning, Model
from ..vector import StateDict


@dataclass(frozen=True)
class Tangent:
    """The base model, and the parameters theta that are trained."""

    model: Model
    parameters: StateDict

    def denoise(self, noised: Tensor, timesteps: Tensor, cond: Conditioning) -> tuple[Tensor, Tensor]:
        """f_lin and its part J (theta - theta_0), both (B, ...) and differentiable in theta. Counts 2 B evaluations."""
        base = self.model.weights()
        # theta_0 in value, theta in the gradient
        at_base = {name: base[name] + (p - p.detach()) for name, p in self.parameters.items()}
        answer = self.model.with_weights(at_base).denoise(noised, timesteps, cond)
        change = self.change(noised, timesteps, cond) + (answer - answer.detach())
        return answer.detach() + change, change

    @torch.no_grad()
    def change(self, noised: Tensor, timesteps: Tensor, cond: Conditioning) -> Tensor:
        """J (theta - theta_0) as a number without a gradient (B, ...)."""
        base = dict(self.model.weights())
        tau = {name: p.detach() - base[name] for name, p in self.parameters.items()}

        def answer(weights: StateDict) -> Tensor:
            return self.model.with_weights(weights).denoise(noised, timesteps, cond)

        with _contiguous(self.model.network), sdpa_kernel(SDPBackend.MATH):
            found: Tensor = jvp(answer, (base,), (tau,))[1]
        return found


@contextmanager
def _contiguous(network: nn.Module) -> Iterator[None]:
    """Inside the block group norms get contiguous inputs: their forward-mode derivative takes no others.

    For the same reason the attention is PyTorch's plain one: it alone has such a derivative.
    """

    def hook(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(one.contiguous() for one in given)

    norms = [module for module in network.modules() if isinstance(module, nn.GroupNorm)]
    handles = [norm.register_forward_pre_hook(hook) for norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
