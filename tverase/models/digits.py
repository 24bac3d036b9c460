"""The toy whose every input can be tried: digits, conditioned on a point of the unit sphere (Pham et al., 2024, sec. 3).

A UNet2DModel of diffusers. Its label code has d dimensions; a fixed linear map leads from there into the wide time embedding.
Images of 28 x 28 are folded to 14 x 14 with four channels (pixel unshuffle). This loses nothing, and a step costs a quarter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from ..errors import ConfigError, ModelError
from ..files import read_tensors, write_json, write_tensors
from ..noise import Diffusion, NoiseProcess
from ..settings import Settings
from ..spaces.sphere import Sphere, check_dimension, spread_codes
from ..vector import StateDict
from .base import Meter
from .build import scheduler

CLASSES = tuple(str(digit) for digit in range(10))
PIXELS = 28
FOLD = 2  # of the pixel unshuffle
MEAN, STD = -0.7386, 0.6162  # of MNIST's pixels in [-1, 1]: latents have mean 0 and variance 1
CODES = "codes.safetensors"
KIND = "DigitsPipeline"  # in model_index.json


class DigitShape(Settings):
    """Sizes of the network."""

    d: int = 4
    widths: tuple[int, ...] = (32, 64)
    layers: int = 1
    groups: int = 8


@dataclass(frozen=True)
class Digits:
    """The digit model as a `Model`: an input is a code (B, d) of unit length, the null input is the zero vector."""

    unet: Any
    codes: Tensor  # (10, d), of unit length
    into_time: Tensor  # (time embedding, d): frozen like a text encoder, no edit touches it
    meter: Meter = field(default_factory=Meter)
    theta: Mapping[str, Tensor] = field(default_factory=dict)

    def space(self, template: str = "", tokens: int = 1) -> Sphere:
        """Where inputs are searched: the sphere itself."""
        if tokens != 1:
            raise ConfigError(f"the digit model hears one code and no words; set invert.tokens to 1, not {tokens}.")
        return Sphere(self.codes)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.codes.device

    @property
    def null(self) -> Tensor:
        """No label: (1, d)."""
        return torch.zeros(1, self.codes.shape[1])

    @property
    def network(self) -> Any:
        """The UNet."""
        return self.unet

    @property
    def noise(self) -> NoiseProcess:
        """That of the embedded text-to-image model."""
        return Diffusion.of(scheduler())

    @property
    def labels(self) -> Tensor:
        """What fine-tuning says at random, because this model knows no empty caption: all ten codes (10, d)."""
        return self.codes

    def weights(self) -> StateDict:
        """The UNet's parameters."""
        return dict(self.theta) if self.theta else dict(self.unet.named_parameters())

    def with_weights(self, weights: StateDict) -> Self:
        """The same model with other UNet weights."""
        return type(self)(self.unet, self.codes, self.into_time, self.meter, dict(weights))

    def metered(self, meter: Meter) -> Self:
        """The same model that counts on another meter."""
        return type(self)(self.unet, self.codes, self.into_time, meter, self.theta)

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Codes of digits by their names, "0" to "9" (B, d); the empty prompt is the null input."""
        rows = [self.space().anchor(prompt) if prompt else self.null[0] for prompt in prompts]
        return torch.stack(rows)

    def denoise(self, noised: Tensor, timesteps: Tensor, cond: Tensor) -> Tensor:
        """The UNet's answer (B, 4, 14, 14); counts B evaluations."""
        self.meter.evaluations += len(noised)
        into_time = cond @ self.into_time.T
        call = (noised, timesteps, into_time)
        answer: Tensor = functional_call(self.unet, dict(self.theta), call, {"return_dict": False})[0]
        return answer

    def to_latents(self, images: Tensor) -> Tensor:
        """Images (B, 1 or 3, 28, 28) in [-1, 1] as (B, 4, 14, 14) of unit variance."""
        return functional.pixel_unshuffle((images.mean(1, keepdim=True) - MEAN) / STD, FOLD)

    def to_images(self, latents: Tensor) -> Tensor:
        """Latents as grey images (B, 3, 28, 28), clipped to [-1, 1]."""
        grey = functional.pixel_shuffle(latents, FOLD) * STD + MEAN
        return grey.clamp(-1, 1).expand(-1, 3, -1, -1)

    def start(self, count: int, rng: torch.Generator) -> Tensor:
        """Standard normal noise (count, 4, 14, 14)."""
        side = PIXELS // FOLD
        return torch.randn(count, FOLD**2, side, side, generator=rng)

    def sampler(self, steps: int) -> Any:
        """A fresh DPM-Solver++."""
        fresh = scheduler()
        fresh.set_timesteps(steps)
        return fresh

    def save(self, folder: Path) -> None:
        """Write `folder`/unet as diffusers does, fp16 safetensors, and the codes and an index beside it."""
        weights = {key: value.detach().half() for key, value in self.weights().items()}
        self.unet.save_config(folder / "unet")
        write_tensors(weights, folder / "unet" / "diffusion_pytorch_model.safetensors", {"format": "pt"})
        write_tensors({"codes": self.codes, "into_time": self.into_time}, folder / CODES)
        write_json(folder / "model_index.json", {"_class_name": KIND, "unet": ["diffusers", type(self.unet).__name__]})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the files of `save`, in float32. A missing or damaged file is a `ModelError`."""
        from diffusers import UNet2DModel

        weights, _ = read_tensors(folder / "unet" / "diffusion_pytorch_model.safetensors")
        extra, _ = read_tensors(folder / CODES)
        try:
            unet = UNet2DModel.from_config(UNet2DModel.load_config(folder / "unet"))
            unet.load_state_dict({key: value.float() for key, value in weights.items()})
            return cls(unet.eval().requires_grad_(False), extra["codes"], extra["into_time"])
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            raise ModelError(f"{folder} is no whole digit model: {str(error).splitlines()[0]}") from error


def new_digits(shape: DigitShape) -> Digits:
    """Random weights; the codes are spread evenly over the sphere. The caller seeds torch."""
    from diffusers import UNet2DModel

    check_dimension(shape.d)
    levels = len(shape.widths)
    unet = UNet2DModel(
        sample_size=PIXELS // FOLD,
        in_channels=FOLD**2,
        out_channels=FOLD**2,
        layers_per_block=shape.layers,
        block_out_channels=shape.widths,
        down_block_types=("DownBlock2D",) * (levels - 1) + ("AttnDownBlock2D",),
        up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * (levels - 1),
        attention_head_dim=8,
        norm_num_groups=shape.groups,
        class_embed_type="identity",
    )
    wide = shape.widths[0] * 4
    return Digits(unet, spread_codes(len(CLASSES), shape.d), torch.randn(wide, shape.d) / shape.d**0.5)
