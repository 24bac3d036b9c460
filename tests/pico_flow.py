"""A transformer with flow matching of 8-pixel images, its weights random."""

from pathlib import Path

import torch

from tverase.models.mmdit import MMDiT
from tverase.models.text2image import TextToImage
from tverase.pretrain.flow import FlowShape, save, scheduler, text_encoder, transformer
from tverase.rng import generator

SMALL = FlowShape(side=4, channels=4, blocks=2, heads=2, head_width=8, text_width=16, pooled_width=16)


def write_pico_flow(pico: TextToImage, folder: Path) -> Path:
    """Write its pipeline folder; VAE, text encoder and tokenizer are those of `pico`."""
    net, noise = transformer(SMALL, 0), generator(0, "tests/mmdit/weights")
    with torch.no_grad():
        for weight in net.parameters():  # its own start has a last layer of zeros, which answers nothing
            weight += 0.05 * torch.randn(weight.shape, generator=noise)
    text = text_encoder(pico.text_encoder)
    save(folder, MMDiT.of(net, pico.vae, text, pico.tokenizer, scheduler()), "---\nlicense: mit\n---\n")
    return folder
