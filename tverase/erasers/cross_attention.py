"""What closed-form erasers share: the keys and values of cross-attention, and the states of prompts that these read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from ..concepts import Concept
from ..errors import ConfigError, ModelError, NumericalError
from ..models.base import Conditioning, Model
from ..vector import TaskVector
from .base import Material

Kind = Literal["to_k", "to_v"]
Prompts = Literal["name", "tuning"]  # the first name alone, or the names and compositions that tune
TUNING = 2  # names that tune, as in tverase/trial.py
BOTH: tuple[Kind, ...] = ("to_k", "to_v")
SAME = 1e-3  # relative distance from which two states are not the same


def maps_of(model: Model, kinds: tuple[Kind, ...] = BOTH) -> dict[str, Tensor]:
    """The weights of cross-attention's keys and values by name, (out, D) in float64; `ModelError` if there are none."""
    ends = tuple(f"attn2.{kind}.weight" for kind in kinds)
    found = {name: weight.detach().cpu().double() for name, weight in model.weights().items() if name.endswith(ends)}
    if not found:
        raise ModelError(
            f"{type(model).__name__} has no cross-attention with {' and '.join(f'attn2.{kind}' for kind in kinds)}; expected a "
            "UNet of diffusers, as in Stable Diffusion 1.x or 2.x; choose an eraser that trains."
        )
    return found


def changed(material: Material, change: Mapping[str, Tensor]) -> TaskVector:
    """The vector that adds `change` to the weights at strength 1; `NumericalError` if it is not finite."""
    if odd := [name for name, delta in change.items() if not delta.isfinite().all()]:
        raise NumericalError(f"the closed form of {odd[0]} is not finite; raise the eraser's regularisation.")
    base = material.model.weights()
    edited = dict(base)
    for name, delta in change.items():
        edited[name] = (base[name].detach().cpu().double() + delta).to(base[name])
    return (-1.0) * TaskVector.between(base, edited)


@dataclass(frozen=True)
class States:
    """What the text encoder says of prompts, place by place, in float64.

    forget (N, D): states that belong to the concepts alone; target (N, D): the empty caption's in the same places. retain
    (R, T, D): those of the distinct retain prompts; null (T, D).
    """

    forget: Tensor
    target: Tensor
    retain: Tensor
    null: Tensor

    @classmethod
    def of(cls, material: Material, prompts: Prompts) -> Self:
        """A state belongs to a concept if neither a retain prompt nor the empty caption has it in the same place.

        With a causal text encoder these are all states from the concept's own words on.
        """
        null = states(material.model.null)[0]
        retain = torch.unique(states(material.retain_cond), dim=0)
        known = torch.cat([null[None], retain])
        forget, target = [], []
        for concept in material.concepts:
            rows = states(named(material, concept, prompts))
            mine = own(rows, known)
            if not mine.any():
                raise ConfigError(
                    f"no state of {concept.names[0]!r} differs from all retain prompts; expected a name of {concept.name!r} that is "
                    "none of them; take it out of the retain set."
                )
            forget.append(rows[mine])
            target.append(null.expand_as(rows)[mine])
        return cls(torch.cat(forget), torch.cat(target), retain, null)


def named(material: Material, concept: Concept, prompts: Prompts) -> Conditioning:
    """The conditionings (K, ...) of the prompts that name a concept."""
    return material.model.encode(texts_of(concept, prompts))


def texts_of(concept: Concept, prompts: Prompts) -> list[str]:
    """The prompts themselves."""
    return [concept.names[0]] if prompts == "name" else [*concept.names[:TUNING], *concept.tuning]


def states(cond: Tensor) -> Tensor:
    """Conditionings as states (B, T, D) in float64 on the CPU; `ModelError` if they are not states of a text encoder."""
    if cond.dim() != 3:
        raise ModelError(
            f"the model's conditioning has the shape {tuple(cond.shape[1:])}; expected states of a text encoder (T, D); choose "
            "an eraser that trains."
        )
    return cond.detach().cpu().double()


def own(rows: Tensor, known: Tensor) -> Tensor:
    """Which states of `rows` (B, T, D) no row of `known` (M, T, D) has in the same place: bool (B, T)."""
    distance = torch.cdist(rows.transpose(0, 1), known.transpose(0, 1)).amin(2).T
    found: Tensor = distance > SAME * rows.norm(dim=2)
    return found


def moment(vectors: Tensor) -> Tensor:
    """The sum of v v^T over `vectors` (..., D): (D, D)."""
    flat = vectors.flatten(0, -2)
    return flat.T @ flat
