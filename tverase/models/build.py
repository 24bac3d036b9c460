"""The architecture of the embedded model: a small Stable Diffusion, every part a class of diffusers or transformers."""

from typing import Any

from ..settings import Settings

CHANNELS = 16  # of the latents; 8 x 8 of them hold an image of 32 x 32


class Shape(Settings):
    """Sizes of the parts. The defaults are emoji-sd's; the tests use smaller ones."""

    pixels: int = 32
    latent_channels: int = CHANNELS
    vae: tuple[int, ...] = (24, 48, 64)
    unet: tuple[int, ...] = (72, 144)
    text_width: int = 128
    text_layers: int = 2
    tokens: int = 24
    heads: int = 4
    groups: int = 8


PICO = Shape(
    pixels=8, latent_channels=4, vae=(8, 8), unet=(16, 16), text_width=16, text_layers=1, tokens=13, heads=2, groups=4
)


def autoencoder(shape: Shape) -> Any:
    """An AutoencoderKL that halves the image once for each width after the first."""
    from diffusers import AutoencoderKL

    levels = len(shape.vae)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=shape.vae,
        layers_per_block=1,
        latent_channels=shape.latent_channels,
        norm_num_groups=shape.groups,
        sample_size=shape.pixels,
        mid_block_add_attention=False,
    )


def unet(shape: Shape) -> Any:
    """A UNet2DConditionModel with cross-attention at every level."""
    from diffusers import UNet2DConditionModel

    levels = len(shape.unet)
    return UNet2DConditionModel(
        sample_size=shape.pixels // 2 ** (len(shape.vae) - 1),
        in_channels=shape.latent_channels,
        out_channels=shape.latent_channels,
        layers_per_block=1,
        block_out_channels=shape.unet,
        down_block_types=("CrossAttnDownBlock2D",) * levels,
        up_block_types=("CrossAttnUpBlock2D",) * levels,
        cross_attention_dim=shape.text_width,
        attention_head_dim=shape.heads,
        norm_num_groups=shape.groups,
    )


def scheduler() -> Any:
    """DPM-Solver++ over Stable Diffusion's noise schedule, with v-prediction (Salimans & Ho, 2022, arXiv:2202.00512)."""
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        steps_offset=1,
        timestep_spacing="trailing",
    )


def text_encoder(shape: Shape, tokenizer: Any) -> Any:
    """A CLIPTextModel as wide as the UNet's cross-attention."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.text_width,
        intermediate_size=shape.text_width * 4,
        num_hidden_layers=shape.text_layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=shape.tokens,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)
