"""Activation weighting: a task vector keeps its effect on the forget set and loses it on the retain set.

For each linear or convolution layer with the change dW, X minimises tr((X - dW) A_f (X - dW)^T) + lambda tr(X A_r X^T). A_f and
A_r are the second moments of the layer's inputs on the forget set and on the retain set. This is the closed form
for merging theta_0 + tau on the forget set with theta_0 on the retain set (RegMean; Jin et al., 2023, arXiv:2212.09849).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import ModelError, NumericalError
from ..losses import random_timesteps
from ..models.base import Model
from ..progress import Progress, Tell, silent
from ..rng import generator
from ..vector import TaskVector

DAMPING = 1.0  # of the mean eigenvalue of A_f; with less, the vector follows the noise of the samples
WIDEST = 4096  # inputs of a block, with patches unfolded; a moment of it has 64 MiB
ROOM = 2**31  # bytes of moments in memory at a time
BATCH = 16
SCALED = 64  # forget samples on which the factor is found
CLOSE = 0.01  # relative error of the change at the factor


@dataclass(frozen=True)
class Samples:
    """Latents (N, ...), and the conditioning of each (N, ...)."""

    latents: Tensor
    cond: Tensor

    def noised(self, model: Model, seed: int, purpose: str) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Batches of what `Model.denoise` takes; timesteps are spread evenly, and the same seed gives the same noise."""
        rng = generator(seed, f"build_vector/activations/{purpose}")
        for clean, cond in zip(torch.split(self.latents, BATCH), torch.split(self.cond, BATCH), strict=True):
            timesteps = random_timesteps(len(clean), model.noise.timesteps, rng).to(clean.device)
            noise = torch.randn(clean.shape, generator=rng).to(clean.device)
            yield model.noise.corrupt(clean, timesteps, noise), timesteps, cond


@dataclass(frozen=True)
class Block:
    """Input channels of a linear or convolution layer: a layer of its own, except where a layer is wider than `WIDEST`."""

    module: nn.Linear | nn.Conv2d
    weight: str
    bias: str | None  # in the first block of a layer
    channels: slice

    def inputs(self, given: Tensor) -> Tensor:
        """What the weights are multiplied with (positions, n): patches are unfolded, and a bias adds a column of ones."""
        layer = self.module
        if isinstance(layer, nn.Conv2d):
            sides = [layer.kernel_size, layer.dilation, [int(side) for side in layer.padding], layer.stride]
            found = functional.unfold(given[:, self.channels], *map(tuple, sides)).transpose(1, 2).flatten(0, 1)
        else:
            found = given[..., self.channels].flatten(0, -2)
        return found.float() if self.bias is None else functional.pad(found.float(), (0, 1), value=1.0)

    @property
    def width(self) -> int:
        """The number n of its inputs."""
        return self.module.weight[0, self.channels].numel() + (self.bias is not None)

    def solve(self, delta: dict[str, Tensor], forget: Tensor, retain: Tensor, retain_weight: float) -> None:
        """Put the weighted change into `delta`. forget, retain: the moments (n, n)."""
        old = delta[self.weight][:, self.channels]
        change = old.flatten(1) if self.bias is None else torch.cat([old.flatten(1), delta[self.bias][:, None]], 1)
        new = ridge(change.to(forget.device), forget, retain, retain_weight).to(old.device)
        if not new.isfinite().all():
            raise NumericalError(f"the activations of {self.weight} are not finite; set build_vector.weighting=none.")
        if self.bias is not None:
            delta[self.bias], new = new[:, -1].clone(), new[:, :-1]
        delta[self.weight] = delta[self.weight].clone()
        delta[self.weight][:, self.channels] = new.reshape(old.shape)


def weighted(
    model: Model,
    vector: TaskVector,
    forget: Samples,
    retain: Samples,
    retain_weight: float,
    seed: int,
    tell: Tell = silent,
) -> TaskVector:
    """The vector with every linear and convolution layer weighted, times the factor that gives it the change of `vector`.

    model: the base. Norms, grouped convolutions and layers that are never called keep their change before that factor. The
    change is that of the prediction on forget samples. The moments need 8 n^2 bytes for n inputs, at most `ROOM` at a time.
    A solution needs 32 n^2 more. A layer of more than `WIDEST` inputs is solved in blocks of input channels. The widest of
    Stable Diffusion 1.4 has 23,041 inputs, a moment of 2 GiB.
    """
    delta = {name: change.to(torch.float32) for name, change in vector.delta.items()}
    parts = list(passes(blocks_of(model, vector)))
    for done, blocks in enumerate(parts):
        tell(Progress("weighting the vector by activations", done, len(parts)))
        both = moments(model, blocks, forget, seed, "forget"), moments(model, blocks, retain, seed, "retain")
        for block, of_forget, of_retain in zip(blocks, *both, strict=True):
            if of_forget.any():
                block.solve(delta, of_forget, of_retain, retain_weight)
    found = replace(vector, delta=delta)
    few = Samples(forget.latents[:SCALED], forget.cond[:SCALED])
    factor = same_change(lambda f: change(model, f * found, few, seed), change(model, vector, few, seed))
    tell(Progress("weighting the vector by activations", len(parts), len(parts), f"factor {factor:.2f}"))
    return (factor * found).noting(weighting="activations", retain_weight=f"{retain_weight:g}", factor=f"{factor:.6g}")


def ridge(change: Tensor, forget: Tensor, retain: Tensor, retain_weight: float, damping: float = DAMPING) -> Tensor:
    """dW A_f (A_f + lambda A_r + damping / n I)^-1 in float64, for dW (m, n). Both moments are divided by their trace."""
    where = "cpu" if change.device.type == "mps" else change.device  # without float64
    a_f, a_r = (moment.to(where, torch.float64) / moment.trace().clamp(min=1e-30).item() for moment in (forget, retain))
    system = a_f + retain_weight * a_r
    system.diagonal().add_(damping / len(system))
    factor, _ = torch.linalg.cholesky_ex(system)
    return torch.cholesky_solve(a_f @ change.to(where, torch.float64).T, factor).T.to(change)


def blocks_of(model: Model, vector: TaskVector) -> list[Block]:
    """The layers that are weighted, in the order of the network; `ModelError` if there is none."""
    if found := list(_blocks(model, vector)):
        return found
    raise ModelError(
        f"{type(model).__name__} has no linear or convolution layer in its network by the names of its weights; set "
        "build_vector.weighting=none."
    )


def weightable(model: Model, vector: TaskVector) -> bool:
    """Whether there is a layer to weight; a network of another kind has none."""
    return any(True for _ in _blocks(model, vector))


def _blocks(model: Model, vector: TaskVector) -> Iterator[Block]:
    for name, module in model.network.named_modules():
        weight, bias = f"{name}.weight", f"{name}.bias"
        if weight not in vector.delta or not isinstance(module, nn.Linear | nn.Conv2d):
            continue
        if isinstance(module, nn.Conv2d) and (
            module.groups > 1 or module.padding_mode != "zeros" or isinstance(module.padding, str)
        ):
            continue
        channels, each = module.weight.shape[1], max(1, (WIDEST - 1) // module.weight[0, 0].numel())
        count = -(-channels // each)
        edges = [channels * i // count for i in range(count + 1)]
        for low, high in pairwise(edges):
            own = bias if low == 0 and bias in vector.delta else None
            yield Block(module, weight, own, slice(low, high))


def passes(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """The blocks in groups whose moments of both sets fit into `ROOM`, or of one block."""
    group: list[Block] = []
    for block in blocks:
        if group and sum(8 * one.width**2 for one in (*group, block)) > ROOM:
            yield group
            group = []
        group.append(block)
    yield group


@torch.no_grad()
def moments(model: Model, blocks: Sequence[Block], samples: Samples, seed: int, purpose: str) -> list[Tensor]:
    """The sum of x x^T over all inputs x of each block (n, n), zero if the layer is never called."""
    found = [torch.zeros(block.width, block.width, device=model.device) for block in blocks]

    def adding(block: Block, moment: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            inputs = block.inputs(given[0])
            moment.addmm_(inputs.T, inputs)

        return hook

    handles = [b.module.register_forward_pre_hook(adding(b, m)) for b, m in zip(blocks, found, strict=True)]
    try:
        for noised, timesteps, cond in samples.noised(model, seed, purpose):
            model.denoise(noised, timesteps, cond)
    finally:
        for handle in handles:
            handle.remove()
    return found


@torch.no_grad()
def change(model: Model, vector: TaskVector, samples: Samples, seed: int) -> float:
    """The mean squared change of the prediction by the vector at alpha 1."""
    edited = model.with_weights(vector.apply(model.weights(), 1.0, check=False))
    batches = samples.noised(model, seed, "change")
    squares = [
        (edited.denoise(*batch) - model.denoise(*batch)).double().square().flatten(1).mean(1) for batch in batches
    ]
    return torch.cat(squares).mean().item()


def same_change(change_at: Callable[[float], float], target: float) -> float:
    """The factor at which `change_at` is the target up to `CLOSE`; 1 where nothing changes.

    Secant steps on logarithms: a change that is a power of the factor takes two.
    """
    factor, found = 1.0, change_at(1.0)
    if not target or not found:
        return factor
    power = 2.0
    for _ in range(12):
        if not math.isfinite(found) or not found:
            break
        if abs(found / target - 1) < CLOSE:
            return factor
        last, before = factor, found
        factor *= (target / found) ** (1 / power)
        found = change_at(factor)
        if found and math.isfinite(found):
            power = min(4.0, max(0.5, math.log(found / before) / math.log(factor / last)))
    raise NumericalError(
        "no factor gives the weighted vector the change of the plain one; lower build_vector.retain_weight or set "
        "build_vector.weighting=none."
    )
