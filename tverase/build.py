"""From fine-tuned weights to the vector that is applied."""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from typing import Literal

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from .models.base import Conditioning, Model, uncaptioned
from .rng import generator, pick
from .settings import Settings
from .vector import StateDict, TaskVector
from .vectors.activations import Samples
from .vectors.agreement import agree
from .vectors.copies import by_name

TIMES = 2  # that a forget latent is taken, with another caption and another noise
RETAINED = 240  # retain latents
FORGET_EMPTY, RETAIN_EMPTY = 0.5, 0.2  # shares of the samples without a caption


class BuildVector(Settings):
    """How tau is made: the copies of a fine-tune are merged, the concepts' vectors are summed, and the sum is weighted."""

    weighting: Literal["none", "activations"] = "activations"  # tverase/vectors/activations.py
    retain_weight: NonNegativeFloat = 3.0  # of the retain set's activations; the forget set's have weight 1


def build_vector(base: StateDict, finetuned: Mapping[str, StateDict]) -> TaskVector:
    """The sum of the concepts' vectors.

    finetuned: slug of a concept to theta_ft; copies are numbered (tverase/vectors/copies.py) and merged first.
    """
    copies = by_name({name: TaskVector.between(base, weights) for name, weights in finetuned.items()})
    return reduce(add, (agree(many) for many in copies.values()))


def forget_samples(model: Model, concepts: Sequence[tuple[Tensor, Conditioning]], seed: int) -> Samples:
    """Each latent of each concept twice, with one of its captions or without; concepts are (latents, captions)."""
    rng = generator(seed, "build_vector/forget")
    latents = torch.cat([images for images, _ in concepts for _ in range(TIMES)])
    cond = torch.cat([captions[pick(TIMES * len(images), len(captions), rng)] for images, captions in concepts])
    order = torch.randperm(len(latents), generator=rng)
    return _emptied(model, Samples(latents[order], cond[order]), FORGET_EMPTY, rng)


def retain_samples(model: Model, latents: Tensor, captions: Conditioning, seed: int) -> Samples:
    """Retain latents with their own captions (row i belongs to row i), some of them without."""
    rng = generator(seed, "build_vector/retain")
    order = torch.randperm(len(latents), generator=rng)[:RETAINED]
    return _emptied(model, Samples(latents[order], captions[order]), RETAIN_EMPTY, rng)


def _emptied(model: Model, samples: Samples, share: float, rng: torch.Generator) -> Samples:
    """The samples, the first `share` of them without a caption, in a random order."""
    count = round(share * len(samples.cond))
    cond = torch.cat([uncaptioned(model, count, rng).to(samples.cond), samples.cond[count:]])
    order = torch.randperm(len(cond), generator=rng)
    return Samples(samples.latents[order], cond[order])
