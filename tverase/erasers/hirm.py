"""HiRM: the first block of the text encoder is trained so that the last block says something else of the concept's name.

    min over the first block's weights w:  mean (h_w(c) - c0 * r)^2

with h the last block's states (T, D) of the name, and r a random direction of length 1 (HiRM-R) or the frozen encoder's own
states of a superclass prompt (HiRM-S; `towards`). The denoiser and the other blocks stay as they are; nothing holds the retain
set. The paper: c0 500 for 77 x 768 states, a root mean square of 2.06, and 15 to 40 steps of AdamW at lr 5e-5. Scaled here:
`size` is that root mean square, a small encoder needs a higher rate, and the prompts that tune are taught beside the name. The paper has random numbers of one sign, as
here. Weaker than the paper: an encoder of few blocks has little behind the first that could tell concepts apart.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from ..concepts import Concept
from ..errors import ModelError
from ..models.base import Model
from ..progress import Progress
from ..rng import generator, pick
from ..settings import Settings
from ..training import Training
from .base import Material
from .cross_attention import Prompts, texts_of
from .encoder import CalledWith, EditedEncoder, encoded, encoder_of, encoding_with

PAPER = "Lee et al., 2026, arXiv:2602.19631"


class Hirm(Settings):
    """How long the first block is trained, and towards what."""

    steps: PositiveInt = 40  # for each concept
    lr: PositiveFloat = 1e-3
    size: PositiveFloat = 2.06  # root mean square of the random target
    towards: str = ""  # a superclass prompt; empty: a random direction
    prompts: Prompts = "tuning"  # one at random in each step

    def run(self, material: Material) -> EditedEncoder:
        """One encoder for all concepts, which take turns."""
        first, last = blocks(encoder_of(material.model))
        before = dict(encoder_of(material.model).named_parameters())
        training = Training.of({name: weight for name, weight in before.items() if name.startswith(first)})
        targets = {concept.name: self.target(material, concept, last) for concept in material.concepts}
        total = self.steps * len(material.concepts)
        for step in range(total):
            concept = material.concepts[step % len(material.concepts)]
            texts = texts_of(concept, self.prompts)
            text = texts[int(pick(1, len(texts), generator(material.seed, f"hirm/{step}")))]
            student = encoding_with(material.model, {**before, **training.parameters})
            loss = (said(student, last, text) - targets[concept.name]).square().mean()
            training.advance(loss, self.lr, 0.0)
            material.tell(
                Progress("training the text encoder's first block", step + 1, total, f"loss {loss.item():.4f}")
            )
        return EditedEncoder({name: weight.detach().clone() for name, weight in training.parameters.items()})

    @torch.no_grad()
    def target(self, material: Material, concept: Concept, last: str) -> Tensor:
        """What the last block should say (1, T, D)."""
        if self.towards:
            return said(material.model, last, self.towards)
        states = said(material.model, last, concept.names[0])
        drawn = torch.rand(states.shape, generator=generator(material.seed, f"hirm/{concept.name}")).to(states)
        return self.size * drawn / drawn.square().mean().sqrt()


PLUGIN = Hirm


def blocks(encoder: nn.Module) -> tuple[str, str]:
    """The names of the first and the last block of a text encoder: those of its longest list of modules."""
    lists = [
        (name, module) for name, module in encoder.named_modules() if isinstance(module, nn.ModuleList) and len(module)
    ]
    if not lists:
        raise ModelError(
            f"the text encoder {type(encoder).__name__} has no list of blocks; expected one of transformers, such as "
            "CLIPTextModel; choose an eraser that edits the denoiser."
        )
    name, module = max(lists, key=lambda found: len(found[1]))
    return f"{name}.0.", f"{name}.{len(module) - 1}"


def said(model: Model, block: str, prompt: str) -> Tensor:
    """The states (1, T, D) of one block for a prompt, differentiable in the encoder's weights."""
    encoder = cast(Any, model).text_encoder
    with heard((encoder.encoder if isinstance(encoder, CalledWith) else encoder).get_submodule(block)) as found:
        encoded(model, [prompt])
    return found[-1]


@contextmanager
def heard(module: nn.Module) -> Iterator[list[Tensor]]:
    """Inside the block the answers of `module` are collected."""
    found: list[Tensor] = []

    def hook(_: nn.Module, _given: Any, answer: Any) -> None:
        found.append(answer[0] if isinstance(answer, tuple) else answer)

    handle = module.register_forward_hook(hook)
    try:
        yield found
    finally:
        handle.remove()
