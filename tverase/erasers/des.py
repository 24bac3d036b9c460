"""DES: the text encoder sends prompts of the concept to the safe prompts that are least like them.

For prompts u of the concept, safe prompts s, the concept's direction n (its name's states, of length 1) and states as one
vector each, with ' for the trained encoder:

    weight * [(1 - cos(s', s)) + (1 - cos(s' + scale n, s))] + (1 - weight) * [(1 - cos(u', t)) + (1 - cos(n', e))]

t is the safe embedding with the lowest cosine to u, minus scale * n; e is the empty caption's. Defaults of the paper: weight 0.3,
scale 200, AdamW at 1e-5, 2 epochs of 6,911 pairs in batches of 128, all weights. Scaled here: scale is a share of the safe
embeddings' length (200 of CLIP's about 250), the steps are fewer and the rate is higher, u are the concept's names and
compositions that tune, and s the retain prompts that tune. The denoiser stays as it is.
"""

from dataclasses import dataclass
from typing import Self

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional

from ..concepts import halves
from ..models.base import Model
from ..progress import Progress
from ..rng import generator, pick
from ..settings import Settings
from ..training import Training
from .base import Material
from .cross_attention import texts_of
from .encoder import EditedEncoder, encoded, encoder_of, encoding_with

PAPER = "Ahn et al., 2025, arXiv:2501.18877"


class Des(Settings):
    """How long the text encoder is trained, and with which weights."""

    steps: PositiveInt = 150
    batch: PositiveInt = 8  # of the concept's prompts, and as many safe ones
    lr: PositiveFloat = 1e-3
    weight: float = Field(default=0.3, ge=0, le=1)
    scale: NonNegativeFloat = 0.8  # of the safe embeddings' mean length

    def run(self, material: Material) -> EditedEncoder:
        """One encoder for all concepts: their prompts are mixed, and each keeps its own direction."""
        training = Training.of(
            {name: weight.detach() for name, weight in encoder_of(material.model).named_parameters()}
        )
        pairs = Pairs.of(material, self.scale)
        for step in range(self.steps):
            rng = generator(material.seed, f"des/{step}")
            loss = self.loss(encoding_with(material.model, training.parameters), pairs, rng)
            value = training.advance(loss, self.lr, 0.0)
            material.tell(Progress("training the text encoder", step + 1, self.steps, f"loss {value:.4f}"))
        return EditedEncoder({name: weight.detach().clone() for name, weight in training.parameters.items()})

    def loss(self, student: Model, pairs: "Pairs", rng: torch.Generator) -> Tensor:
        """The four terms on a random batch."""
        mine, safe = pick(self.batch, len(pairs.unsafe), rng), pick(self.batch, len(pairs.safe), rng)
        now = encoded(student, [pairs.safe[i] for i in safe.tolist()]).flatten(1)
        kept = pairs.embeddings[safe.to(now.device)]
        unsafe = encoded(student, [pairs.unsafe[i] for i in mine.tolist()]).flatten(1)
        names = encoded(student, pairs.names).flatten(1)
        added = now + pairs.shift[pairs.owner[mine]]
        keeping = apart(now, kept) + apart(added, kept)
        erasing = apart(unsafe, pairs.targets[mine.to(now.device)]) + apart(names, pairs.empty)
        return self.weight * keeping + (1 - self.weight) * erasing


PLUGIN = Des


@dataclass(frozen=True)
class Pairs:
    """Prompts with what becomes of them; E = T * D.

    unsafe with targets (N, E) and the number of their concept, owner (N,); safe with embeddings (M, E); names of the concepts
    with shift = scale * n (C, E); empty (1, E).
    """

    unsafe: list[str]
    targets: Tensor
    owner: Tensor
    safe: list[str]
    embeddings: Tensor
    names: list[str]
    shift: Tensor
    empty: Tensor

    @classmethod
    def of(cls, material: Material, scale: float) -> Self:
        """From the names and prompts that tune."""
        model = material.model
        safe = [prompt.text for prompt in halves(material.concepts)[0]]
        embeddings = model.encode(safe).flatten(1)
        names = [concept.names[0] for concept in material.concepts]
        shift = scale * embeddings.norm(dim=1).mean() * functional.normalize(model.encode(names).flatten(1), dim=1)
        prompts = [texts_of(concept, "tuning") for concept in material.concepts]
        unsafe = [prompt for own in prompts for prompt in own]
        owner = torch.tensor([number for number, own in enumerate(prompts) for _ in own])
        alike = functional.normalize(model.encode(unsafe).flatten(1), dim=1) @ functional.normalize(embeddings, dim=1).T
        targets = embeddings[alike.argmin(1)] - shift[owner]
        return cls(unsafe, targets, owner, safe, embeddings, names, shift, model.null.flatten(1))


def apart(one: Tensor, other: Tensor) -> Tensor:
    """The mean of 1 - cos over rows."""
    return 1 - torch.cosine_similarity(one, other, dim=1).mean()
