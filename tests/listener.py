"""A model of words that can be worked out by hand: its image is bright if a prompt holds the hidden word, and dark otherwise."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, Self

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from tverase.concepts import Concept
from tverase.judges.base import columns_of
from tverase.models.base import Meter
from tverase.models.text import embeddings_replaced, token_ids
from tverase.noise import Diffusion
from tverase.spaces.tokens import TokenSpace
from tverase.vector import StateDict

WIDTH, SIDE = 48, 4
NEEDED = 0.6  # of the hidden word's direction in one place of the prompt, from which the image is bright
# The rocket is a word of the concept file that no embedding knows of.
BOMB = Concept(name="bomb", names=("a bomb",), synonyms=("a boom", "a rocket"), neighbours=("cat", "dog", "owl"))


def table_of(tokenizer: Any) -> nn.Embedding:
    """Random directions for all tokens, none for special ones; `boom` and `explosion` lie near `bomb`."""
    rng = torch.Generator().manual_seed(0)
    weight = torch.nn.functional.normalize(torch.randn(len(tokenizer), WIDTH, generator=rng), dim=1)
    bomb, *near = (token_of(tokenizer, word) for word in ("bomb", "boom", "explosion"))
    for token in near:
        weight[token] = torch.nn.functional.normalize(weight[bomb] + 0.3 * weight[token], dim=0)
    weight[torch.tensor(tokenizer.all_special_ids)] = 0
    table = nn.Embedding(len(weight), WIDTH, _weight=weight)
    return table.requires_grad_(False)


def token_of(tokenizer: Any, word: str) -> int:
    """The one token of a word."""
    (token,) = tokenizer(word, add_special_tokens=False).input_ids
    return int(token)


@dataclass(frozen=True)
class Listener:
    """A `Model` that predicts the sample itself; its conditioning is the embeddings of the prompt's tokens (B, T, E)."""

    tokenizer: Any
    token_embedding: nn.Embedding
    hidden: Tensor
    meter: Meter = field(default_factory=Meter)
    device = torch.device("cpu")
    network = nn.Identity()

    @classmethod
    def of(cls, tokenizer: Any, word: str = "") -> Self:
        """One that waits for a word, or for nothing."""
        table = table_of(tokenizer)
        return cls(tokenizer, table, table.weight[token_of(tokenizer, word)] if word else torch.zeros(WIDTH))

    @property
    def null(self) -> Tensor:
        return self.encode([""])

    @property
    def noise(self) -> Diffusion:
        return Diffusion.of(DDPMScheduler(prediction_type="sample"))

    def weights(self) -> StateDict:
        return {"hidden": self.hidden}

    def with_weights(self, weights: StateDict) -> Self:
        return replace(self, hidden=weights["hidden"])

    def metered(self, meter: Meter) -> Self:
        return replace(self, meter=meter)

    def space(self, template: str, tokens: int = 1) -> TokenSpace:
        return TokenSpace(self, template, tokens)

    def encode(self, prompts: Sequence[str]) -> Tensor:
        states: Tensor = self.token_embedding(token_ids(self.tokenizer, prompts))
        return states

    def encode_tokens(self, tokens: Tensor, places: slice, points: Tensor) -> Tensor:
        with embeddings_replaced(self.token_embedding, places, points):
            states: Tensor = self.token_embedding(tokens.expand(len(points), -1))
        return states

    def denoise(self, noised: Tensor, timesteps: Tensor, cond: Tensor) -> Tensor:
        self.meter.evaluations += len(noised)
        heard = (cond @ self.hidden).amax(1)
        return torch.sigmoid(8 * (heard - NEEDED)).view(-1, 1, 1, 1).expand(-1, 1, SIDE, SIDE)

    def to_latents(self, images: Tensor) -> Tensor:
        return images[:, :1]

    def to_images(self, latents: Tensor) -> Tensor:
        return latents.expand(-1, 3, -1, -1)

    def start(self, count: int, rng: torch.Generator) -> Tensor:
        return torch.randn(count, 1, SIDE, SIDE, generator=rng)

    def sampler(self, steps: int) -> Any:
        return SimpleNamespace(
            timesteps=torch.tensor([500]),
            init_noise_sigma=1.0,
            scale_model_input=lambda latents, timestep: latents,
            step=lambda answer, timestep, latents: SimpleNamespace(prev_sample=answer),
        )


class Bright:
    """A judge of brightness: a bomb from the middle on."""

    name, labels, axes = "bright/1", ("bomb", "none"), {"label": ("bomb", "none")}
    accuracy, threshold = 1.0, 0.5

    def scores(self, images: Tensor) -> Tensor:
        shown = images.mean((1, 2, 3)).clamp(0, 1)
        return torch.stack([shown, 1 - shown], 1)

    def sees(self, images: Tensor, wanted: Sequence[str]) -> Tensor:
        return self.scores(images)[torch.arange(len(images)), columns_of(self, wanted)] > 0.5
