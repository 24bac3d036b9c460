"""Repair once more, during a strength search: what it has learned and what still draws a concept is held as well."""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from tverase.adaptive import LEARNED
from tverase.files import read_tensors
from tverase.held import kept
from tverase.models.base import Model, in_turn
from tverase.progress import Progress
from tverase.repair import Lessons, mend
from tverase.rng import generator
from tverase.strength import Mend
from tverase.trial import ModelTrial
from tverase.vector import TaskVector

from ._job import Job
from ._lessons import lessons_of


def mender(job: Job, model: Model, trial: ModelTrial, alpha: float) -> Mend:
    """What repairs the vector of `trial` again. alpha: the strength at which it was repaired.

    Resumes after a stop. The edit that teaches and what is held are those of the repair, with all the words that its rounds
    and the search have learned: whatever is not held may come back. Half of these are the ones that broke the search.
    """
    params = job.params
    steps = params.search_strength.mending * len(params.concepts)

    @cache  # the same for every mend
    def before() -> tuple[TaskVector, Lessons, Tensor]:
        return TaskVector.load(job.inputs["selected"]), lessons_of(job, model), _of_rounds(job, model)

    def again(names: Sequence[str]) -> None:
        number, others = trial.became + 1, [name for name in trial.inputs.cond if LEARNED in name and name not in names]
        teacher, lessons, rounds = before()
        parts = rounds, _of_search(job, model, trial, others, f"{number}/others")
        known, found = torch.cat(parts), _of_search(job, model, trial, names, f"{number}")
        learned = torch.cat([known, in_turn(found, max(len(known), len(found)))])
        how = params.repair, steps, params.seed, f"mend {number}", job.scratch / f"mend-{number}.safetensors"
        for step in mend(model, teacher, trial.vector, alpha, lessons.holding(learned), *how):
            note = f"holding {len(names)} more words, loss {step.loss:.4f}"
            job.tell(Progress("repairing again", step.number, steps, note))
        trial.become(step.vector.noting(**trial.vector.about))

    return again


def _of_rounds(job: Job, model: Model) -> Tensor:
    """The words that the rounds of the repair had learned, held in the same way: as many rows as there."""
    params, words = job.params, read_tensors(job.inputs["learned"])[0]
    rows = [model.null[:0]]
    for concept in params.concept_list:
        if concept.name in words:
            rng = generator(params.seed, f"mend/{concept.name}/rounds")
            points, count = words[concept.name].to(model.device), params.repair.inputs * params.repair.rounds
            rows.append(kept(model, concept, points, params.invert, count, rng, params.repair.as_learned))
    return torch.cat(rows)


def _of_search(job: Job, model: Model, trial: ModelTrial, names: Sequence[str], which: str) -> Tensor:
    """The words of these names, held in the same way."""
    params, inputs = job.params, trial.inputs
    rows = [model.null[:0]]
    for concept in params.concept_list:
        mine = [name for name in names if inputs.concept[name] == concept]
        if mine:
            rng, count = generator(params.seed, f"mend/{concept.name}/{which}"), 2 * params.repair.inputs
            if points := [inputs.points[name] for name in mine if name in inputs.points]:
                rows.append(
                    kept(model, concept, torch.stack(points), params.invert, count, rng, params.repair.as_learned)
                )
            rows += [in_turn(inputs.cond[name], count) for name in mine if name not in inputs.points]
    return torch.cat(rows)
