"""Repair for digits: the other nine learn the base model's answers again, and every direction stays without the digit."""

from collections.abc import Iterator

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from .models.base import repeated
from .models.digits import CLASSES, Digits
from .repair import Lessons, Repair, Repaired, repair
from .rng import generator
from .sampling import Sampling, draw_latents
from .vector import TaskVector


class DigitRepair(Repair):
    """The settings of the main job with the digits' own defaults. What is held are directions: no word has to be learned."""

    steps: NonNegativeInt = 150
    alpha: PositiveFloat = 1.5  # above the strength that any of the ten digits needs
    start: float = 1.0  # from the edited model on
    silent: float = 0.0  # a code is all that this model hears
    inputs: PositiveInt = 400  # directions that are held: uniform ones, and as many at every angle to the digit's own
    rounds: NonNegativeInt = 0
    hold: PositiveFloat = 1.0
    # At the whole change: from the edited model on, and without attacks, parts of it erase as well (docs/digits.md).
    taught: tuple[PositiveFloat, PositiveFloat] = (1.0, 1.0)
    controls: PositiveInt = 50  # images of each other digit


def repair_digit(
    model: Digits, digit: int, vector: TaskVector, images: int, settings: DigitRepair, sampling: Sampling, seed: int
) -> Iterator[Repaired]:
    """Yields after each step; the last has the repaired vector. images: of the digit, drawn from its own code."""
    own = model.codes[digit : digit + 1]
    others = model.codes[[i for i in range(len(CLASSES)) if i != digit]].repeat_interleave(settings.controls, 0)
    rng, space = generator(seed, "repair/held"), model.space()
    cosine = 1.2 * torch.rand(settings.inputs, generator=rng) - 0.2
    around = space.start(own[0], cosine, cosine, rng)
    lessons = Lessons(
        draw_latents(model, others, generator(seed, "repair/control"), sampling),
        others,
        draw_latents(model, repeated(own, images), generator(seed, "repair/images"), sampling),
        torch.cat([space.uniform(settings.inputs, rng), around, own]),
    )
    yield from repair(model, vector, settings.alpha, lessons, settings, seed)
