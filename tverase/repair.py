"""Utility repair: a model that answers as the edited one where it erases, and as the base model to everything else.

Distillation (Hinton et al., 2015, arXiv:1503.02531) with two teachers, from the base model on or from the edited one. What
comes out is a task vector again, so that strength, proof and files know nothing of it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from .files import read_tensors, write_tensors
from .finetune import CHECKPOINT_EVERY
from .losses import random_timesteps
from .models.base import Model, repeated
from .rng import generator
from .settings import Settings
from .training import Training, warm_average
from .vector import TaskVector, mixed

MENDED = 0.8  # the share of what has to stay away that was learned, while a repair is mended


class Repair(Settings):
    """How the edit is repaired."""

    # Of several concepts each takes as many again: whoever shares the steps of one comes back by learned words. None: the
    # vector stays as it is.
    steps: NonNegativeInt = 300
    # Strength of the edit that is repaired; none: the first of `alphas` that erases in `look` images of each input, and of
    # words that are learned against it. Held is what the edit does at this strength: what still draws the concept there
    # draws it from the repaired model as well, and what the edit has ruined comes back. The first is stronger than most
    # concepts need, because words learned against a weaker edit come back from a repair that a weaker edit taught.
    alpha: PositiveFloat | None = None
    alphas: tuple[PositiveFloat, ...] = Field(default=(4.5, 6.0, 8.0), min_length=1)
    look: PositiveInt = 12
    # Where the distillation begins, in shares of that strength: 0 with the base model, which unlearns the concept and keeps
    # the rest; 1 with the edited model, which learns the rest again.
    start: float = Field(default=0.0, ge=0, le=1)
    batch: PositiveInt = 16  # of what is to return, and as many of what has to stay away
    lr: PositiveFloat = 2e-4
    hold: PositiveFloat = 0.6  # weight of what has to stay away, beside 1 of what is to return
    silent: float = 0.15  # share of samples without a caption
    inputs: PositiveInt = 240  # that stay away: of each kind, for each concept
    rounds: NonNegativeInt = 6  # at which words are learned against the model as it then is, and held from then on
    attacks: tuple[dict[str, Any], ...] = ({"kind": "concept-inversion", "words": 8},)
    # Of the words of a round, the share that is held just as they were learned; the others in many templates and lengths.
    as_learned: float = Field(default=0.5, ge=0, le=1)
    # The share of what has to stay away that is from rounds, once there is one.
    learned: float = Field(default=0.5, ge=0, le=1)
    # Against which shares of the change so far, round after round: what is learned against a weaker edit still knows the
    # concept, and is what brings it back at the strength that is found in the end.
    attacked: tuple[PositiveFloat, ...] = Field(default=(0.5, 0.75, 1.0), min_length=1)
    # At which shares of the change it is taught, each step at one between these: a search goes on to where the edit is weaker
    # than the one that was repaired, and there the concept has to stay away as well.
    taught: tuple[PositiveFloat, PositiveFloat] = (0.65, 1.0)

    @model_validator(mode="after")
    def _taught_in_order(self) -> Self:
        low, high = self.taught
        if low > high:
            raise ValueError(f"repair.taught is from {low:g} to {high:g}; the smaller share comes first")
        return self

    def of_concepts(self, count: int) -> Self:
        """With the steps that so many concepts take together."""
        return self.model_copy(update={"steps": count * self.steps})

    def round_at(self, step: int) -> int | None:
        """The round that is due before `step`, evenly spread over the steps."""
        return next((number for number in range(self.rounds) if self.due(number) == step), None)

    def due(self, number: int) -> int:
        """The step before which a round is due."""
        return self.steps * (number + 1) // (self.rounds + 1)


@dataclass(frozen=True)
class Lessons:
    """Latents (N, ...) and conditionings (M, T, D), of which pairs are drawn at random; control's belong together."""

    control_latents: Tensor
    control_cond: Tensor  # row i is the prompt of latent i
    concept_latents: Tensor
    concept_cond: Tensor
    learned: Tensor | None = None  # (L, T, D), more inputs that have to stay away: what the rounds have found

    def holding(self, found: Tensor) -> "Lessons":
        """With more inputs that have to stay away."""
        found = found.to(self.concept_cond.device)
        return replace(self, learned=found if self.learned is None else torch.cat([self.learned, found]))


# (model as it is, number of the round) -> conditionings (M, T, D) that bring a concept back
Learn = Callable[[Model, int], Tensor]


@dataclass(frozen=True)
class Repaired:
    """One step: its number, its loss, and the vector so far."""

    number: int
    loss: float
    vector: TaskVector


def repair(
    model: Model,
    vector: TaskVector,
    alpha: float,
    lessons: Lessons,
    settings: Repair,
    seed: int,
    checkpoint: Path | None = None,
    learn: Learn | None = None,
    begin: TaskVector | None = None,
    purpose: str = "repair",
) -> Iterator[Repaired]:
    """Yields what there is after each step. model: the base. With `checkpoint` it resumes exactly.

    alpha: the strength of the edit that is repaired; the repaired vector is scaled back by it.
    learn: asked at each round; what it finds has to stay away from then on.
    begin: the vector that the distillation starts from, of the same parameters, instead of `settings.start * vector`.
    purpose: names the random numbers.
    """
    base = model.weights()
    edited, begun = vector.apply(base, alpha), (begin or settings.start * vector).apply(base, alpha)
    training = Training.of({key: begun[key] for key in vector.delta})
    training.go_on(checkpoint)
    teachers = model, model.with_weights(edited)
    if checkpoint is not None:
        lessons = _with_rounds(lessons, settings, training.step, checkpoint)
    while training.step < settings.steps:
        if learn is not None and (number := settings.round_at(training.step)) is not None:
            share = settings.attacked[number % len(settings.attacked)]
            found = learn(model.with_weights({**edited, **mixed(base, training.average, share)}), number)
            lessons = lessons.holding(found)
            if checkpoint is not None:
                write_tensors({"cond": found}, _round_path(checkpoint, number))
        rng = generator(seed, f"{purpose}/{training.step}")
        share = _between(*settings.taught, rng)
        student = model.with_weights({**edited, **mixed(base, training.parameters, share)})
        loss = _loss(student, teachers, lessons, settings, rng)
        rate = settings.lr * min(1.0, 2 * (1 - training.step / settings.steps))
        value = training.advance(loss, rate, warm_average(training.step, 0.99))
        training.leave(checkpoint, CHECKPOINT_EVERY, settings.steps)
        delta = {key: (base[key] - weight) / alpha for key, weight in training.average.items()}
        yield Repaired(training.step, value, TaskVector(delta, vector.base, vector.about))


def mend(
    model: Model,
    vector: TaskVector,
    repaired: TaskVector,
    alpha: float,
    lessons: Lessons,
    settings: Repair,
    steps: int,
    seed: int,
    purpose: str,
    checkpoint: Path | None = None,
) -> Iterator[Repaired]:
    """Repairs again, `steps` from `repaired` on; of what has to stay away most is what was learned.

    vector, alpha: the edit that teaches; lessons: with what else has to stay away. With `checkpoint` it resumes exactly.
    """
    how = settings.model_copy(update={"steps": steps, "learned": MENDED, "rounds": 0})
    yield from repair(model, vector, alpha, lessons, how, seed, checkpoint, begin=repaired, purpose=purpose)


def _between(low: float, high: float, rng: torch.Generator) -> float:
    return low if low == high else low + (high - low) * float(torch.rand((), generator=rng))


def _loss(
    student: Model, teachers: tuple[Model, Model], lessons: Lessons, settings: Repair, rng: torch.Generator
) -> Tensor:
    """How far the student is from the base model on a batch of control, and from the edited one on one of the concept."""
    (base, erased), process, half = teachers, student.noise, settings.batch
    kept, gone = (_sample(lessons, kind, base, settings, rng) for kind in ("control", "concept"))
    clean, cond = torch.cat([kept[0], gone[0]]), torch.cat([kept[1], gone[1]])
    timesteps = torch.cat([random_timesteps(half, process.timesteps, rng) for _ in range(2)]).to(clean.device)
    noise = torch.randn(clean.shape, generator=rng).to(clean.device)
    noised = process.corrupt(clean, timesteps, noise)
    with torch.no_grad():
        control = base.denoise(noised[:half], timesteps[:half], cond[:half])
        concept = erased.denoise(noised[half:], timesteps[half:], cond[half:])
    errors = (student.denoise(noised, timesteps, cond) - torch.cat([control, concept])).square().flatten(1).mean(1)
    errors = errors * process.weight(timesteps)
    return errors[:half].mean() + settings.hold * errors[half:].mean()


def _asking(lessons: Lessons, settings: Repair, rng: torch.Generator) -> Tensor:
    """A batch of inputs that ask for the concept: those known from the start, and a share of what was learned since."""
    known, learned = lessons.concept_cond, lessons.learned
    cond = known[torch.randint(len(known), (settings.batch,), generator=rng)]
    if learned is None:
        return cond
    found = learned[torch.randint(len(learned), (settings.batch,), generator=rng)]
    return _swapped(cond, found, settings.learned, rng)


def _swapped(cond: Tensor, other: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """A share of the rows of `cond`, at random, replaced by those of `other`."""
    instead = torch.rand(len(cond), generator=rng) < share
    return torch.where(instead.to(cond.device).view(-1, *[1] * (cond.dim() - 1)), other, cond)


def _with_rounds(lessons: Lessons, settings: Repair, step: int, checkpoint: Path) -> Lessons:
    """With what the rounds before `step` had found when the repair was stopped."""
    for number in range(settings.rounds):
        if settings.due(number) < step and (path := _round_path(checkpoint, number)).exists():
            lessons = lessons.holding(read_tensors(path)[0]["cond"])
    return lessons


def _round_path(checkpoint: Path, number: int) -> Path:
    return checkpoint.with_name(f"round-{number}.safetensors")


def _sample(lessons: Lessons, kind: str, model: Model, settings: Repair, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """A batch of latents and conditionings, some of them without a caption."""
    control = kind == "control"
    latents = lessons.control_latents if control else lessons.concept_latents
    which = torch.randint(len(latents), (settings.batch,), generator=rng)
    cond = lessons.control_cond[which] if control else _asking(lessons, settings, rng)
    null = repeated(model.null, settings.batch).to(cond.device)
    return latents[which], _swapped(cond, null, settings.silent, rng)
