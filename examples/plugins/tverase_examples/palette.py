"""A model family: folders of the class PalettePipeline, with `words` and `side` in model_index.json."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from diffusers import DDIMScheduler
from torch import nn

from tverase.models.plain import PlainFamily, PlainModel

GRAIN = 0.1  # how much of the noise stays visible


class Network(nn.Module):
    """Attention over all words mixes their colours. It predicts the image itself."""

    def __init__(self, words, width, pixels):
        super().__init__()
        self.keys = nn.Linear(width, words, bias=False)
        self.colours = nn.Linear(words, pixels)

    def forward(self, noised, timesteps, cond):
        """The clean image that it believes in."""
        return self.colours(self.keys(cond).softmax(1)).view(noised.shape) + GRAIN * noised


@dataclass(frozen=True, kw_only=True)
class PaletteModel(PlainModel):
    """Its conditioning is the sum of the embeddings of the words that it knows."""

    words: dict[str, int]
    table: torch.Tensor  # (words, width)

    def encode(self, prompts):
        """Prompts as conditionings (B, width); unknown words add nothing."""
        known = [[self.words[word] for word in prompt.lower().split() if word in self.words] for prompt in prompts]
        return torch.stack([self.table[rows].sum(0) for rows in known])


class Palette(PlainFamily):
    """Palettes: a tiny denoiser that fills an image with the colour of a word."""

    KINDS: ClassVar[tuple[str, ...]] = ("PalettePipeline",)

    def build(self, index, tensors):
        """The model of a folder, from its model_index.json and its tensors."""
        table, shape = tensors.pop("table"), (3, index["side"], index["side"])
        network = Network(*table.shape, pixels=3 * index["side"] ** 2).to(table.device)
        network.load_state_dict(tensors)
        return PaletteModel(
            network=network,
            scheduler=DDIMScheduler(prediction_type="sample", clip_sample=False),
            shape=shape,
            words={word: row for row, word in enumerate(index["words"])},
            table=table,
        )
