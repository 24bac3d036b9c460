"""Shared parts of small model families: a network with a scheduler of diffusers, in a folder of two files."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import ModelError
from ..files import read_tensors, write_tensors
from ..noise import NoiseProcess, noise_of
from ..settings import Settings
from ..spaces.base import InputSpace
from ..spaces.states import StateSpace
from ..vector import StateDict
from .base import Meter
from .checking import read_index
from .reading import first_line, require_finite, say
from .sampler import fresh_sampler
from .writing import legal

INDEX = "model_index.json"


@dataclass(frozen=True, kw_only=True)
class PlainModel:
    """A `Model` of images without an autoencoder; a subclass adds `encode`, and `denoise` if conditionings are not enough.

    shape: of one image, (3, H, W). theta: the weights that the network is called with; its own ones if none are given.
    """

    network: nn.Module
    scheduler: Any
    shape: tuple[int, int, int]
    theta: StateDict = field(default_factory=dict)
    meter: Meter = field(default_factory=Meter)

    def __post_init__(self) -> None:
        if not self.theta:
            self.network.eval().requires_grad_(False)
            object.__setattr__(self, "theta", {name: p.detach() for name, p in self.network.named_parameters()})

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Prompts as conditionings (B, ...); the empty prompt is one as well."""
        raise NotImplementedError(f"{type(self).__name__} has no `encode`.")

    def denoise(self, noised: Tensor, timesteps: Tensor, cond: Tensor) -> Tensor:
        """`network(noised, timesteps, cond)` with the weights of this model; counts B evaluations."""
        self.meter.evaluations += len(noised)
        answer: Tensor = functional_call(self.network, dict(self.theta), (noised, timesteps, cond))
        return answer

    @property
    def null(self) -> Tensor:
        """The conditioning of the empty caption."""
        return self.encode([""])

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(iter(self.theta.values())).device

    @property
    def noise(self) -> NoiseProcess:
        """The noise process that the scheduler reverses."""
        return noise_of(self.scheduler)

    def metered(self, meter: Meter) -> Self:
        """The same model, counting on `meter`."""
        return replace(self, meter=meter)

    def weights(self) -> StateDict:
        """The network's parameters by name."""
        return self.theta

    def with_weights(self, weights: StateDict) -> Self:
        """The same model with other weights; everything else is shared."""
        return replace(self, theta=weights)

    def space(self, template: str, tokens: int = 1) -> InputSpace:
        """The conditioning itself as the space of inputs; `tokens` means nothing there."""
        return StateSpace(self, template)

    def to_latents(self, images: Tensor) -> Tensor:
        """The images themselves, where the model is."""
        return images.to(self.device)

    def to_images(self, latents: Tensor) -> Tensor:
        """Clipped to [-1, 1], on the CPU."""
        return latents.clamp(-1, 1).cpu()

    def start(self, count: int, rng: torch.Generator) -> Tensor:
        """Standard normal noise, drawn on the CPU so that it is the same on every device."""
        return torch.randn(count, *self.shape, generator=rng).to(self.device)

    def sampler(self, steps: int) -> Any:
        """A fresh copy of the scheduler with its timesteps set."""
        return fresh_sampler(self.scheduler, steps, self.device)


class PlainFamily(Settings):
    """The adapter of folders with model_index.json and one file of weights; a subclass gives `KINDS` and `build`.

    The weights are those of the network, by name, and whatever else `build` needs.
    """

    KINDS: ClassVar[tuple[str, ...]] = ()
    WEIGHTS: ClassVar[str] = "model.safetensors"

    def build(self, index: Mapping[str, Any], tensors: dict[str, Tensor]) -> PlainModel:
        """The model of an index and of the tensors in float32; a wrong one may raise KeyError, RuntimeError or ValueError."""
        raise NotImplementedError(f"{type(self).__name__} has no `build`.")

    def check(self, folder: Path, *, finite: bool = True) -> None:
        """Raise `ModelError` unless the folder can be opened."""
        self.open(folder)

    def open(self, folder: Path, device: str = "cpu") -> PlainModel:
        """The model on a device."""
        index, (tensors, _) = read_index(folder), read_tensors(folder / self.WEIGHTS)
        for key, tensor in tensors.items():
            require_finite(key, tensor, say(folder / self.WEIGHTS))
        try:
            return self.build(index, {key: tensor.float().to(device) for key, tensor in tensors.items()})
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise ModelError(
                f"{say(folder)} cannot be opened as a {index.get('_class_name')}: {first_line(error)}"
            ) from error

    def write(self, source: Path, weights: Mapping[str, Tensor], out: Path) -> tuple[str, ...]:
        """Write the folder with other weights, in the precision of the file, and with its licence texts."""
        stored, about = read_tensors(source / self.WEIGHTS)
        edited = {key: tensor.to(stored[key].dtype).contiguous().cpu() for key, tensor in weights.items()}
        out.mkdir(parents=True, exist_ok=True)
        kept = (INDEX, *legal(source))
        for name in kept:
            shutil.copyfile(source / name, out / name)
        write_tensors({**stored, **edited}, out / self.WEIGHTS, about)
        return tuple(say(p.name) for p in sorted(source.iterdir()) if p.name not in (*kept, self.WEIGHTS))
