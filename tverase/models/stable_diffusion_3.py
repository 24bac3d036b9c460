"""Stable Diffusion 3: a transformer with flow matching; folders with one CLIP text encoder."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch

from ..errors import ModelError, TveraseError
from ..settings import Settings
from . import checking, writing
from .layout import Layout, Part, named
from .mmdit import MMDiT
from .opening import network_of, tokenizer_of
from .reading import first_line, read_config, say, weights_of

PAPER = "Esser et al., 2024, arXiv:2403.03206"
LAYOUT = Layout(
    family="Stable Diffusion 3",
    pipelines=("StableDiffusion3Pipeline",),
    edited="transformer",
    parts={
        "transformer": Part("network", "diffusers", ("SD3Transformer2DModel",)),
        "vae": Part("network", "diffusers", ("AutoencoderKL",)),
        "text_encoder": Part("network", "transformers", ("CLIPTextModelWithProjection",)),
        "tokenizer": Part("tokenizer", "transformers", ("CLIPTokenizer", "CLIPTokenizerFast")),
        "scheduler": Part("scheduler", "diffusers"),
    },
)
BUFFERS = ("pos_embed.pos_embed",)  # stored with the weights, but no parameters
MORE_TEXT = ("text_encoder_2", "text_encoder_3")


class StableDiffusion3(Settings):
    """Folders of diffusers' `StableDiffusion3Pipeline` whose second and third text encoder are null."""

    KINDS: ClassVar[tuple[str, ...]] = LAYOUT.pipelines

    def check(self, folder: Path, *, finite: bool = True) -> None:
        """Raise unless the folder is whole, has one text encoder and a flow-matching scheduler."""
        checking.check_folder(folder, LAYOUT, finite=finite)
        parts = named(checking.read_index(folder))
        if more := [name for name in MORE_TEXT if name in parts]:
            raise ModelError(
                f"{say(folder)} has the part `{more[0]}`; expected Stable Diffusion 3 with one text encoder. Set the other "
                "ones to [null, null] in model_index.json if the transformer was trained without them."
            )
        if not str(parts["scheduler"][1]).startswith("FlowMatch"):
            raise ModelError(
                f"{say(folder)} names the scheduler {parts['scheduler'][1]}; expected a flow-matching one, such as "
                "FlowMatchEulerDiscreteScheduler."
            )

    def open(self, folder: Path, device: str = "cpu") -> MMDiT:
        """The pipeline as a `Model`."""
        self.check(folder, finite=False)  # the opened weights are read anyway
        try:
            parts = {name: network_of(name, folder, LAYOUT) for name in LAYOUT.networks()}
            tokenizer = tokenizer_of(folder, parts["text_encoder"])
            transformer, vae, text_encoder = (parts[name].to(device) for name in ("transformer", "vae", "text_encoder"))
            model = MMDiT.of(transformer, vae, text_encoder, tokenizer, _scheduler(folder))
            _try_out(model)
        except TveraseError:
            raise
        except Exception as error:  # a wrong value in a config raises errors of many types
            raise ModelError(
                f"{say(folder)} could not be opened as a {LAYOUT.family} pipeline: {first_line(error)}"
            ) from error
        return model

    def write(self, source: Path, weights: Mapping[str, torch.Tensor], out: Path) -> tuple[str, ...]:
        """Write the pipeline with other transformer weights."""
        stored = weights_of(source / LAYOUT.edited, LAYOUT.parts[LAYOUT.edited].stem, source)
        buffers = {key: tensor for key, tensor in stored.tensors() if key in BUFFERS}
        return writing.write_edited(source, {**buffers, **weights}, out, LAYOUT)


PLUGIN = StableDiffusion3


def _scheduler(folder: Path) -> Any:
    import diffusers

    name, path = checking.read_index(folder)["scheduler"][1], folder / "scheduler" / "scheduler_config.json"
    if not hasattr(diffusers, name):
        raise ModelError(
            f"{say(folder)} names the scheduler {name}, which diffusers does not have; choose one that it has."
        )
    config = read_config(path, folder, f"the part `scheduler` of {say(folder)} is incomplete")
    if config.get("use_dynamic_shifting"):
        raise ModelError(f"{say(path)} has use_dynamic_shifting=true; set it to false and `shift` to a number.")
    return getattr(diffusers, name).from_config(config)


@torch.no_grad()
def _try_out(model: MMDiT) -> None:
    """One step through every part, so that parts that do not fit together are found at once."""
    shape, latent = model.network.config, model.vae.config.latent_channels
    if {shape.in_channels, shape.out_channels} != {latent}:
        raise ModelError(
            f"the transformer has {shape.in_channels} channels in and {shape.out_channels} out, the vae {latent}; expected the "
            "same number."
        )
    text = model.text_encoder.config
    if text.projection_dim != shape.pooled_projection_dim or text.hidden_size > shape.joint_attention_dim:
        raise ModelError(
            f"the text encoder gives states of {text.hidden_size} numbers and a pooled output of {text.projection_dim}, the "
            f"transformer takes {shape.joint_attention_dim} and {shape.pooled_projection_dim}; they do not belong together."
        )
    rng, sampler = torch.Generator().manual_seed(0), model.sampler(2)
    latents = model.start(1, rng)
    answer = model.denoise(latents, sampler.timesteps[:1], model.null)
    image = model.to_images(sampler.step(answer, sampler.timesteps[0], latents).prev_sample)
    model.to_latents(image)
    if not (math.isfinite(float(answer.sum())) and math.isfinite(float(image.sum()))):
        raise ModelError("its answer to plain noise is NaN or infinite; the weights or the configuration are damaged")
    model.meter.evaluations = 0
