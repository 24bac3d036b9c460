"""Utility repair: the edited model learns the base model's answers to everything else again, and stays where it erases.

Distillation with two teachers, as in method.md, section 7. What comes out is a task vector again, so that strength, proof
and files know nothing of it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from .attacks.concept_inversion import ConceptInversion
from .files import read_tensors, write_tensors
from .finetune import CHECKPOINT_EVERY
from .losses import min_snr_weight, random_timesteps
from .models.base import Model, repeated
from .rng import generator
from .settings import Settings
from .training import Training, warm_average
from .vector import TaskVector


class Repair(Settings):
    """How the edit is repaired."""

    steps: NonNegativeInt = 200  # none: the vector stays as it is
    alpha: PositiveFloat = 2.0  # strength of the edit that is repaired; the repaired vector is scaled back by it
    batch: PositiveInt = 16  # of what is to return, and as many of what has to stay away
    lr: PositiveFloat = 2e-4
    hold: PositiveFloat = 1.0  # weight of what has to stay away
    silent: float = 0.15  # share of samples without a caption
    inputs: PositiveInt = 240  # that stay away: of each kind, for each concept
    rounds: NonNegativeInt = 3  # at which words are learned against the model as it then is, and held from then on
    attack: ConceptInversion = ConceptInversion(words=8, steps=40)

    def round_at(self, step: int) -> int | None:
        """The round that is due before `step`, evenly spread over the steps."""
        due = [self.steps * number // (self.rounds + 1) for number in range(1, self.rounds + 1)]
        return due.index(step) if step in due else None


@dataclass(frozen=True)
class Lessons:
    """Latents (N, ...) and conditionings (M, T, D), of which pairs are drawn at random; control's belong together."""

    control_latents: Tensor
    control_cond: Tensor  # row i is the prompt of latent i
    concept_latents: Tensor
    concept_cond: Tensor


Learn = Callable[
    [Model, int], Tensor
]  # (model as it is, number of the round) -> conditionings that bring a concept back


@dataclass(frozen=True)
class Repaired:
    """One step: its number, its loss, and the vector so far."""

    number: int
    loss: float
    vector: TaskVector


def repair(
    model: Model,
    vector: TaskVector,
    lessons: Lessons,
    settings: Repair,
    seed: int,
    checkpoint: Path | None = None,
    learn: Learn | None = None,
) -> Iterator[Repaired]:
    """Yields what there is after each step. model: the base. With `checkpoint` it resumes exactly.

    learn: asked at each round; what it finds has to stay away from then on.
    """
    base = model.weights()
    edited = vector.apply(base, settings.alpha)
    erased = model.with_weights(edited)
    weights = {key: edited[key].detach().clone().requires_grad_() for key in vector.delta}
    training = Training(weights, weight_decay=0.0)
    if checkpoint is not None and checkpoint.exists():
        training.resume(checkpoint)
    student, schedule = model.with_weights({**edited, **training.parameters}), model.noise_schedule
    for step in range(training.step):  # what was learned before the stop
        lessons = _with_round(lessons, settings.round_at(step), None, checkpoint)
    while training.step < settings.steps:
        if learn is not None and (number := settings.round_at(training.step)) is not None:
            found = learn(model.with_weights({**edited, **training.average}), number)
            lessons = _with_round(lessons, number, found, checkpoint)
        rng = generator(seed, f"repair/{training.step}")
        kept, gone = (_sample(lessons, kind, model, settings, rng) for kind in ("control", "concept"))
        clean, cond = torch.cat([kept[0], gone[0]]), torch.cat([kept[1], gone[1]])
        timesteps = torch.cat([random_timesteps(settings.batch, schedule, rng) for _ in range(2)]).to(clean.device)
        noise = torch.randn(clean.shape, generator=rng).to(clean.device)
        noised, half = schedule.add_noise(clean, noise, timesteps), settings.batch
        with torch.no_grad():
            wanted = torch.cat(
                [
                    model.denoise(noised[:half], timesteps[:half], cond[:half]),
                    erased.denoise(noised[half:], timesteps[half:], cond[half:]),
                ]
            )
        errors = (student.denoise(noised, timesteps, cond) - wanted).square().flatten(1).mean(1)
        errors = errors * min_snr_weight(schedule, timesteps)
        loss = errors[:half].mean() + settings.hold * errors[half:].mean()
        rate = settings.lr * min(1.0, 2 * (1 - training.step / settings.steps))
        value = training.advance(loss, rate, warm_average(training.step, 0.99))
        if checkpoint is not None and training.step % CHECKPOINT_EVERY == 0 and training.step < settings.steps:
            training.save(checkpoint)
        delta = {key: (base[key] - weight) / settings.alpha for key, weight in training.average.items()}
        yield Repaired(training.step, value, TaskVector(delta, vector.base, vector.about))


def _with_round(lessons: Lessons, number: int | None, found: Tensor | None, checkpoint: Path | None) -> Lessons:
    """With what a round found, which is kept beside the checkpoint; a round without anything is read from there."""
    place = None if checkpoint is None or number is None else checkpoint.with_name(f"round-{number}.safetensors")
    if found is not None and place is not None:
        write_tensors({"cond": found}, place)
    if found is None and place is not None and place.exists():
        found = read_tensors(place)[0]["cond"].to(lessons.concept_cond.device)
    return lessons if found is None else replace(lessons, concept_cond=torch.cat([lessons.concept_cond, found]))


def _sample(lessons: Lessons, kind: str, model: Model, settings: Repair, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """A batch of latents and conditionings, some of them without a caption."""
    control = kind == "control"
    latents = lessons.control_latents if control else lessons.concept_latents
    captions = lessons.control_cond if control else lessons.concept_cond
    which = torch.randint(len(latents), (settings.batch,), generator=rng)
    cond = captions[which if control else torch.randint(len(captions), (settings.batch,), generator=rng)]
    silent = torch.rand(settings.batch, generator=rng).to(cond.device) < settings.silent
    null = repeated(model.null, settings.batch).to(cond.device)
    return latents[which], torch.where(silent.view(-1, *[1] * (cond.dim() - 1)), null, cond)
