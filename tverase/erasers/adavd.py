"""AdaVD: every cross-attention value loses its part along the concept's value, token by token.

For the value v of a token and the concept's value t in the same place,

    v' = v - delta * (t^T v / t^T t) t,   delta = height / (1 + exp(-slope * (cos(v, t) - centre)))

so that values far from the concept's stay. Several concepts: the part in their span, each with its own delta. The first token
stays, and so does the empty caption. Defaults of the authors' code for instances: slope 100, centre 0.93, height 2. Scaled here:
the centre is 0.8, since values of few dimensions are less alike. t is the value of the state of the concept's name that differs
most from the empty caption's, in every place; the authors repeat the last word of the name, which says little in a small text
encoder.

It acts on every call, so that gradient attacks learn through it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from pydantic import NonNegativeFloat
from torch import Tensor, nn
from torch.nn import functional

from ..models.base import Model
from ..settings import Settings
from .base import Material
from .cross_attention import maps_of, states
from .guarding import Guarded, behind

PAPER = "Wang et al., 2024, arXiv:2412.06143"
VALUES = "attn2.to_v"
TINY = 1e-5  # length of a value below which it is none
Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]


class Adavd(Settings):
    """The shift factor delta."""

    slope: NonNegativeFloat = 100.0
    centre: float = 0.8
    height: NonNegativeFloat = 2.0

    def run(self, material: Material) -> "ValueGuard":
        """The guard with a state of each concept's first name."""
        maps_of(material.model, ("to_v",))
        null = states(material.model.null)[0]
        rows = [states(material.names(concept))[0] for concept in material.concepts]
        found = torch.stack([row[(row - null).norm(dim=1).argmax()] for row in rows])
        return ValueGuard(found.to(material.model.null), self)


PLUGIN = Adavd


@dataclass(frozen=True)
class ValueGuard:
    """The states (K, D) of the concepts, and how much of their values is taken away."""

    concepts: Tensor
    settings: Adavd

    def guarded(self, model: Model, strength: float = 1.0) -> Model:
        """The same model with `strength` times delta."""
        maps_of(model, ("to_v",))
        return behind(model, Projected(self.concepts, self.settings, strength)) if strength else model


@dataclass(frozen=True)
class Projected:
    """The rule of a strength."""

    concepts: Tensor
    settings: Adavd
    strength: float

    def __call__(self, model: Guarded, noised: Tensor, timesteps: Tensor, cond: Tensor) -> Tensor:
        """The answer with the concepts' parts taken from the values of all prompts but the empty caption."""
        touched = (~model.empty(cond))[:, None, None].expand(-1, cond.shape[1], 1).clone()
        touched[:, 0] = False

        def hook(module: nn.Module, given: tuple[Tensor, ...], values: Tensor) -> Tensor:
            concept = functional.linear(self.concepts.to(given[0]), module.weight)  # type: ignore[arg-type]
            return torch.where(touched, values - self.strength * self.part(values, concept), values)

        with hooked(model.network, hook):
            return model.model.denoise(noised, timesteps, cond)

    def part(self, values: Tensor, concept: Tensor) -> Tensor:
        """What `values` (B, T, n) have of the concepts' values (K, n), each concept with its delta."""
        how = self.settings
        with torch.no_grad():
            inverse = torch.linalg.pinv(concept.cpu().double(), atol=TINY).to(values)  # (n, K)
        share = values @ inverse
        cosine = functional.normalize(values, dim=-1) @ functional.normalize(concept, dim=-1).T
        delta = how.height * torch.sigmoid(how.slope * (cosine - how.centre))
        found: Tensor = (delta * share) @ concept
        return found


@contextmanager
def hooked(network: nn.Module, hook: Hook) -> Iterator[None]:
    """Inside the block the values of every cross-attention go through `hook`."""
    handles = [module.register_forward_hook(hook) for name, module in network.named_modules() if name.endswith(VALUES)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
