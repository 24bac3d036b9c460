"""The contract of attacks: a model under attack in, inputs that may bring the concept back out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from ..concepts import Concept
from ..inversion.diverse import Invert
from ..inversion.sets import InversionSet
from ..judges.base import Judge
from ..models.base import Conditioning, Model
from ..sampling import Sampling


@dataclass(frozen=True)
class Target:
    """A model under attack, and what the attacker knows and owns.

    model: the erased model, the base model for the positive control, or a mixture.
    base: the model with the concept and the encoder.
    owned(count): latents (count, ...) of images of the concept. The base model drew them with noise of this attack's own.
    found: held-out Diverse Inversion embeddings.
    budget: the number of conditionings of a finding that is a list of prompts.
    judge, sampling: for attacks that draw with the model and count.
    """

    model: Model
    base: Model
    concept: Concept
    rng: torch.Generator
    owned: Callable[[int], Tensor]
    how: Invert = field(default_factory=Invert)  # template, tokens and space of the embeddings
    found: InversionSet | None = None
    budget: int = 1
    judge: Judge | None = None
    sampling: Sampling | None = None


@dataclass(frozen=True)
class Finding:
    """An input that an attack offers. The evaluation counts on both models whether it draws the concept.

    cond: one conditioning (1, ...), or several that are drawn once each.
    samples: images (N, 3, H, W) that the attack drew itself, if `cond` alone does not say how. Nothing is drawn again then.
    kind: the input kind, if it is not the attack's own name.
    text: the prompts behind it, if there are any.
    point: its place in the target's space of embeddings (E,), if it has one. Hardening varies it.
    """

    name: str
    cond: Conditioning
    kind: str = ""
    text: tuple[str, ...] = ()
    point: Tensor | None = None
    samples: Tensor | None = None


def owning(latents: Tensor) -> Callable[[int], Tensor]:
    """An attacker who has just these latents (N, ...), whatever number is asked for."""
    return lambda _: latents


def all_findings(attacks: Sequence["Attack"], target: Target) -> list[Finding]:
    """What several attacks find, one after the other."""
    return [found for attack in attacks for found in attack.run(target)]


class Attack(Protocol):
    """A `Settings` class whose fields are the budget."""

    adaptive: ClassVar[bool]
    """Whether the findings depend on the attacked model; then the base model is attacked apart, as the positive control."""
    input_kind: ClassVar[int]
    """The kind of its inputs: 0 to 2 words, 3 discrete search, 4 embeddings, 5 encoder states, 6 no text, 7 weights."""

    def run(self, target: Target) -> Iterator[Finding]:
        """Look for inputs; the same generator gives the same findings. Costs count on the models' meter."""
        ...
