"""Anchors: what a concept's name is to be answered as, if nobody names it: the most similar prompt of the retain set."""

import torch
from torch import Tensor
from torch.nn import functional

from ..concepts import Concept
from ..models.base import Conditioning, Model
from .base import Material


def anchors(material: Material, concept: Concept, anchor: str = "") -> Conditioning:
    """A conditioning for each of the concept's names (K, ...).

    anchor: a prompt for all of them; empty: for each the retain conditioning with the largest cosine to it. Cosines are taken
    between differences from the empty caption, which all prompts share in part.
    """
    names = material.model.encode(concept.names)
    if anchor:
        return material.model.encode([anchor] * len(names))
    retain = material.retain_cond
    return retain[_unit(material.model, names).matmul(_unit(material.model, retain).T).argmax(1)]


def _unit(model: Model, cond: Conditioning) -> Tensor:
    return functional.normalize((cond - model.null).flatten(1).to(torch.float32), dim=1)
