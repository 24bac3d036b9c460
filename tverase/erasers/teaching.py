"""What the erasers that train share: the loop, noised batches, what holds the retain set, and which weights move."""

from collections.abc import Callable, Iterator
from functools import reduce
from operator import add
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..concepts import Concept
from ..errors import ModelError
from ..losses import denoising_loss, random_timesteps
from ..models.base import Model
from ..progress import Progress
from ..rng import generator, pick
from ..training import Training, warm_average
from ..vector import StateDict, TaskVector
from .base import Material

Steps = Iterator[tuple[float, StateDict]]  # (loss, edited weights so far)
Loss = Callable[[Model, torch.Generator], Tensor]  # the student and the randomness of this step
CROSS = "attn2"  # the cross-attention of a UNet of diffusers


def everything(_: str) -> bool:
    """All parameters are trained."""
    return True


class Budget(Protocol):
    """The settings of a training."""

    @property
    def steps(self) -> int:
        """The number of steps."""
        ...

    @property
    def lr(self) -> float:
        """The learning rate."""
        ...


class Noised(NamedTuple):
    """A noised batch, rows of what `Model.denoise` takes: latents, timesteps, and the clean latents' numbers."""

    latents: Tensor
    timesteps: Tensor
    which: Tensor


def noised(model: Model, latents: Tensor, count: int, rng: torch.Generator) -> Noised:
    """`count` random rows of `latents` (N, ...) at timesteps that are spread evenly."""
    which = pick(count, len(latents), rng)
    clean = latents[which]
    timesteps = random_timesteps(count, model.noise.timesteps, rng).to(clean.device)
    noise = torch.randn(clean.shape, generator=rng).to(clean.device)
    return Noised(model.noise.corrupt(clean, timesteps, noise), timesteps, which)


def denoising(student: Model, latents: Tensor, cond: Tensor, rng: torch.Generator) -> Tensor:
    """The mean denoising loss of random rows of `latents` (N, ...) with the conditionings `cond` (B, ...), without a weight."""
    which = pick(len(cond), len(latents), rng)
    timesteps = random_timesteps(len(cond), student.noise.timesteps, rng).to(latents.device)
    noise = torch.randn(latents[which].shape, generator=rng).to(latents.device)
    return denoising_loss(student.denoise, student.noise, latents[which], cond, timesteps, noise).mean()


def held(material: Material, student: Model, count: int, rng: torch.Generator) -> Tensor:
    """The distance between the student's answers and the base model's, on `count` retain images with their captions."""
    model = material.model
    x, timesteps, which = noised(model, material.retain_latents, count, rng)
    with torch.no_grad():
        kept = model.denoise(x, timesteps, material.retain_cond[which])
    return (student.denoise(x, timesteps, material.retain_cond[which]) - kept).square().mean()


def trained(
    model: Model,
    loss: Loss,
    settings: Budget,
    seed: int,
    purpose: str,
    *,
    moved: Callable[[str], bool] = everything,
    masks: StateDict | None = None,
    average: float = 0.0,
) -> Steps:
    """Yields after each step. moved: the parameters that are trained, by name. masks: 1 where an entry is trained, else 0.

    average: limit of the decay of the running average of the weights; 0 yields the weights themselves.
    """
    base = model.weights()
    training = Training.of({name: weight for name, weight in base.items() if moved(name)})
    for name, mask in (masks or {}).items():
        if name in training.parameters:
            training.parameters[name].register_hook(mask.mul)  # type: ignore[no-untyped-call]
    student = model.with_weights({**base, **training.parameters})
    for step in range(settings.steps):
        decay = warm_average(training.step, average) if average else 0.0
        value = training.advance(loss(student, generator(seed, f"{purpose}/{step}")), settings.lr, decay)
        yield value, {**base, **(training.result() if average else training.parameters)}


def taught(material: Material, train: Callable[[Concept], Steps], steps: int) -> TaskVector:
    """The sum over the concepts of the vectors that lead from what `train` teaches back to the base model."""
    base, vectors = material.model.weights(), []
    for concept in material.concepts:
        weights = last(train(concept), steps, material, f"training on {concept.name}", base)
        vectors.append((-1.0) * TaskVector.between(base, weights))
    return reduce(add, vectors)


def last(rounds: Steps, steps: int, material: Material, what: str, weights: StateDict) -> StateDict:
    """The last weights of a training, whose steps are told; `weights` if there is no step."""
    for step, (loss, weights) in enumerate(rounds, 1):  # noqa: B007 - the last weights are the edited ones
        material.tell(Progress(what, step, steps, f"loss {loss:.4f}"))
    return weights


def cross_attention(model: Model, *ends: str) -> Callable[[str], bool]:
    """Whether a parameter belongs to the cross-attention, or to the part of it whose names have one of `ends`.

    `ModelError` for a model without cross-attention in diffusers' names.
    """
    found = {
        name for name in model.weights() if CROSS in name.split(".") and (not ends or any(e in name for e in ends))
    }
    if not found:
        raise ModelError(
            f"{type(model).__name__} has no cross-attention: none of its parameters has {CROSS!r} in its name, as those of a "
            "UNet of diffusers have; choose an eraser that trains all weights, such as esd or resteer."
        )
    return found.__contains__
