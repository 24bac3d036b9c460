"""Dropout in a network that was trained without: for the length of a block, and reproducible.

The blocks of diffusers have `Dropout` modules throughout, with probability zero. torch's own dropout takes its noise from the
global stream, so while it lasts, hooks on these modules do the dropping, with noise of the project's generator.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .errors import ConfigError
from .models.base import Model


@contextmanager
def dropping(model: Model, share: float, rng: torch.Generator) -> Iterator[None]:
    """Whatever passes a `Dropout` of `model.network` is zero with probability `share`, else divided by 1 - share.

    Srivastava et al., 2014. A share of zero changes nothing; a network without such modules is a `ConfigError`.
    """

    def hook(_module: nn.Module, _given: Any, answer: Tensor) -> Tensor:
        kept = torch.rand(answer.shape, generator=rng) >= share  # on the CPU: the same on every device
        return answer * (kept / (1 - share)).to(answer.device, answer.dtype)

    handles = [module.register_forward_hook(hook) for module in _dropouts(model)] if share else []
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _dropouts(model: Model) -> list[nn.Dropout]:
    found = [module for module in model.network.modules() if isinstance(module, nn.Dropout)]
    if not found:
        raise ConfigError("the denoiser of this model has no Dropout modules; set finetune.dropout=0.")
    return found
