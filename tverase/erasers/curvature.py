"""The curvature of the denoiser on a set of samples, layer by layer, in Kronecker factors.

For a layer with the weights W, inputs a and gradients g of its outputs: A = E[a a^T] over all positions, B = E[sum over
positions of g g^T]. The gradients are those of the answer times standard normal noise, divided by the root of its size: for
squared errors this samples the labels of the Fisher information (KFAC; Martens & Grosse, 2015, arXiv:1503.05671). Then tr(B dW A dW^T) is
the mean squared change of the answer by dW, to first order and without the correlations of inputs and gradients.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..models.base import Model
from ..rng import generator
from ..vector import StateDict, TaskVector
from ..vectors.activations import Block, Samples, blocks_of

NARROW = 320  # inputs of a block: curvature between blocks of one layer is left out


@dataclass(frozen=True)
class Curved:
    """A block of a layer's input channels with its factors A (n, n) and B (m, m)."""

    block: Block
    inputs: Tensor
    outputs: Tensor

    def penalty(self, change: StateDict) -> Tensor:
        """tr(B dW A dW^T) of the change of all parameters by name."""
        found = change[self.block.weight][:, self.block.channels].flatten(1)
        if self.block.bias is not None:
            found = torch.cat([found, change[self.block.bias][:, None]], 1)
        return (self.outputs @ found @ self.inputs * found).sum()


def curvature(model: Model, samples: Samples, draws: int, seed: int) -> list[Curved]:
    """The factors of every linear and convolution layer. draws: noise that is drawn for each sample."""
    zero = {name: torch.zeros_like(weight) for name, weight in model.weights().items()}
    blocks = [narrow for block in blocks_of(model, TaskVector(zero)) for narrow in _narrowed(block)]
    moments, outputs = [], dict[str, Tensor]()
    for block in blocks:  # the blocks of a layer share its outputs, which the first of them watches
        size, watches = len(block.module.weight), block.weight not in outputs
        shared = outputs.setdefault(block.weight, torch.zeros(size, size, device=model.device))
        moments.append(_Moments(block, torch.zeros(block.width, block.width, device=model.device), shared, watches))
    weights = {name: weight.detach().clone().requires_grad_() for name, weight in model.weights().items()}
    student, rng = model.with_weights(weights), generator(seed, "curvature/labels")
    handles = [moment.block.module.register_forward_hook(moment.hook) for moment in moments]
    try:
        for noised, timesteps, cond in (
            batch for _ in range(draws) for batch in samples.noised(model, seed, "curvature")
        ):
            answer = student.denoise(noised, timesteps, cond)
            noise = torch.randn(answer.shape, generator=rng).to(answer)
            torch.autograd.grad(
                (answer * noise).sum() / answer[0].numel() ** 0.5, list(weights.values()), allow_unused=True
            )
    finally:
        for handle in handles:
            handle.remove()
    for of_layer in outputs.values():
        of_layer /= draws * len(samples.latents)
    return [Curved(m.block, m.inputs / m.positions, m.outputs) for m in moments if m.positions]


@dataclass
class _Moments:
    """Sums over what went through a block."""

    block: Block
    inputs: Tensor
    outputs: Tensor
    watches: bool  # the outputs
    positions: int = 0

    def hook(self, _: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
        """Adds the inputs at once, and the gradients of the outputs when they come."""
        inputs = self.block.inputs(given[0].detach())
        self.inputs.addmm_(inputs.T, inputs)
        self.positions += len(inputs)
        if self.watches:
            answer.register_hook(self.gradients)  # type: ignore[no-untyped-call]

    def gradients(self, gradient: Tensor) -> None:
        """Adds the gradients (positions, m) of a layer's outputs."""
        rows = (
            gradient.transpose(1, -1).flatten(0, -2)
            if isinstance(self.block.module, nn.Conv2d)
            else gradient.flatten(0, -2)
        )
        self.outputs.addmm_(rows.float().T, rows.float())


def _narrowed(block: Block) -> Iterator[Block]:
    """The block in parts of at most `NARROW` inputs."""
    low, high = block.channels.start, block.channels.stop
    each = max(1, (NARROW - 1) // block.module.weight[0, 0].numel())
    count = -(-(high - low) // each)
    edges = [low + (high - low) * i // count for i in range(count + 1)]
    for number, (start, stop) in enumerate(pairwise(edges)):
        yield replace(block, channels=slice(start, stop), bias=None if number else block.bias)
