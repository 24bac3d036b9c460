"""A transformer with flow matching on the embedded world: it shares autoencoder and text encoder with the embedded model.

Only the transformer is trained. The folder has the layout of diffusers' `StableDiffusion3Pipeline`, with one text encoder.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, PositiveFloat, PositiveInt

from ..errors import ConfigError, unknown
from ..files import writing
from ..losses import denoising_loss, random_timesteps
from ..models.mmdit import MMDiT
from ..models.stable_diffusion_3 import LAYOUT
from ..models.writing import settle_defaults
from ..noise import Flow
from ..progress import Progress, Tell, silent
from ..rng import derive, generator
from ..settings import Settings
from ..training import Training, warm_average
from ..world.captions import captions
from ..world.scene import Scenes, render, sample_scenes
from ..world.sprites import Sprites
from ..world.vocabulary import Vocabulary
from .denoiser import Pool, pace

PURPOSE = "pretrain/flow"
OBJECTS = ("bomb", "skull", "cat", "turtle", "red apple", "banana", "umbrella", "rose", "sailboat", "house")


class FlowShape(Settings):
    """Sizes of the transformer; the defaults are emoji-flow's."""

    side: int = 8  # of the latents
    channels: int = 16
    patch: int = 1
    blocks: int = 4
    heads: int = 4
    head_width: int = 32
    text_width: int = 128  # of the text encoder's states
    pooled_width: int = 128


class PretrainFlow(Settings):
    """How emoji-flow is made."""

    objects: tuple[str, ...] = Field(default=OBJECTS, min_length=1)
    steps: PositiveInt = 3000
    batch: PositiveInt = 48
    rate: PositiveFloat = 1.5e-3
    pool: PositiveInt = 12288
    empty: float = Field(default=0.12, ge=0, lt=1)  # share of empty captions
    seed: int = 0


def transformer(shape: FlowShape, seed: int) -> Any:
    """An SD3Transformer2DModel; its modulations and its last layer begin at zero, so that each block is the identity."""
    from diffusers import SD3Transformer2DModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, f"{PURPOSE}/weights") % 2**32)
        made = SD3Transformer2DModel(
            sample_size=shape.side,
            patch_size=shape.patch,
            in_channels=shape.channels,
            out_channels=shape.channels,
            num_layers=shape.blocks,
            num_attention_heads=shape.heads,
            attention_head_dim=shape.head_width,
            joint_attention_dim=shape.text_width,
            caption_projection_dim=shape.heads * shape.head_width,
            pooled_projection_dim=shape.pooled_width,
            pos_embed_max_size=shape.side // shape.patch,
            qk_norm="rms_norm",
        )
    zero = [made.proj_out, *(m.linear for name, m in made.named_modules() if name.endswith(("norm1", "norm1_context")))]
    for layer in zero:
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    return made


def text_encoder(base: Any) -> Any:
    """A CLIP text encoder with an identity for its projection, and the weights of `base`, a CLIPTextModel."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    config = CLIPTextConfig.from_dict({**base.config.to_dict(), "projection_dim": base.config.hidden_size})
    made = CLIPTextModelWithProjection(config)
    made.text_model.load_state_dict(base.state_dict())
    torch.nn.init.eye_(made.text_projection.weight)
    return made.eval().requires_grad_(False)


def scheduler() -> Any:
    """Euler steps along the flow."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler()


@torch.no_grad()
def encoded(model: MMDiT, scenes: Scenes, sprites: Sprites, words: Vocabulary, rng: torch.Generator) -> Pool:
    """The scenes with their latents."""
    parts = [scenes[start : start + 256] for start in range(0, len(scenes), 256)]
    return Pool(scenes, torch.cat([model.to_latents(render(part, sprites, words, rng)) for part in parts]))


@dataclass(frozen=True)
class FlowMaker:
    """The makings of emoji-flow."""

    settings: PretrainFlow
    sprites: Sprites
    words: Vocabulary
    work: Path
    shape: FlowShape = field(default_factory=FlowShape)
    tell: Tell = silent

    def make(self, base: Any, out: Path) -> None:
        """Train on the frozen parts of `base`, an opened Stable Diffusion pipeline, and write the folder `out`.

        A checkpoint in `work` is resumed.
        """
        model = self.model(base)
        training = Training(model.weights(), weight_decay=1e-2)
        path = self.work / "flow.safetensors"
        training.go_on(path)
        self.tell(Progress("encoding the training images", 0, self.settings.pool))
        for loss in training.keeping(self.losses(model, training, self.pool(model)), path):
            self.tell(Progress("transformer", training.step, self.settings.steps, f"loss {loss:.3f}"))
        model.network.load_state_dict(training.average, strict=False)
        save(out, model, card(self.settings))

    def model(self, base: Any) -> MMDiT:
        """The untrained model; its weights are the transformer's own parameters."""
        net = transformer(self.shape, self.settings.seed)
        weights = dict(net.named_parameters())
        return MMDiT(net, base.vae, text_encoder(base.text_encoder), base.tokenizer, scheduler(), weights)

    def pool(self, model: MMDiT) -> Pool:
        """Scenes of the chosen objects, encoded once."""
        for name in self.settings.objects:
            if name not in self.words.objects:
                raise ConfigError(f"pretrain_flow.objects: {unknown('object', name, self.words.names)}.")
        rng = generator(self.settings.seed, f"{PURPOSE}/pool")
        things = torch.tensor([self.words.names.index(name) for name in self.settings.objects])
        scenes = sample_scenes(self.settings.pool, self.words, rng, things=things)
        return encoded(model, scenes, self.sprites, self.words, rng)

    def losses(self, model: MMDiT, training: Training, pool: Pool) -> Iterator[float]:
        """Yields the loss of each step; every step has its own random numbers, so that a resumed training goes on exactly."""
        how, process = self.settings, Flow()
        while training.step < how.steps:
            rng = generator(how.seed, f"{PURPOSE}/{training.step}")
            which = torch.randint(len(pool.latents), (how.batch,), generator=rng)
            texts = captions(pool.scenes[which], self.words, rng)
            empty = torch.rand(how.batch, generator=rng) < how.empty
            cond = model.encode(["" if gone else text for gone, text in zip(empty.tolist(), texts, strict=True)])
            clean = pool.latents[which]
            noise = torch.randn(clean.shape, generator=rng)
            timesteps = random_timesteps(how.batch, process.timesteps, rng)
            loss = denoising_loss(model.denoise, process, clean, cond, timesteps, noise).mean()
            rate = how.rate * pace(training.step, how.steps)
            yield training.advance(loss, rate, warm_average(training.step, 0.995))


def card(settings: PretrainFlow) -> str:
    """The model card: what it was trained on."""
    return (
        "---\nlicense: apache-2.0\n---\n# emoji-flow\n\nA transformer with flow matching (the layout of Stable Diffusion 3, one text "
        "encoder), 32 pixels, made by `python -m tasks pretrain_flow`.\nIt draws these objects in the five styles of the "
        f"embedded world: {', '.join(settings.objects)}.\n"
    )


def save(folder: Path, model: MMDiT, text: str) -> None:
    """Write the pipeline folder, weights in fp16 safetensors, with its model card."""
    from diffusers import StableDiffusion3Pipeline

    vae = deepcopy(model.vae)
    vae.register_to_config(shift_factor=vae.config.shift_factor or 0.0)  # diffusers' own pipeline needs a number
    pipe = StableDiffusion3Pipeline(
        transformer=deepcopy(model.network), scheduler=model.scheduler, vae=vae,
        text_encoder=deepcopy(model.text_encoder), tokenizer=model.tokenizer,
        text_encoder_2=None, tokenizer_2=None, text_encoder_3=None, tokenizer_3=None,
    )  # fmt: skip
    with writing(folder) as aside:
        pipe.to(torch.float16).save_pretrained(aside, safe_serialization=True)
        settle_defaults(aside, LAYOUT)
        (aside / "README.md").write_text(text, encoding="utf-8")
