"""The vector, repaired: it erases as before and does less harm; and the words that were learned on the way."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from tverase.adaptive import learner
from tverase.attacks.base import Target, all_findings, owning
from tverase.files import read_tensors, write_tensors
from tverase.held import kept
from tverase.inversion.sets import InversionSet
from tverase.models.base import Model, in_turn
from tverase.progress import Progress
from tverase.repair import Learn, repair
from tverase.rng import generator
from tverase.strength import Look, first_that_erases
from tverase.trial import Inputs, ModelTrial
from tverase.vector import TaskVector

from ._attacks import attack_modules, attacks_of
from ._common import base_model, concept_latents, model_path
from ._job import Job
from ._judge import judge_files, judge_of
from ._lessons import LOOKED_AT, REPAIRED_AT, lessons_of
from ._plugins import run_plugins
from ._step import Step


def run(job: Job) -> None:
    """Base model and edited model teach: the one on control prompts, the other on the concepts. Resumes after a stop.

    Where no strength erases there is nothing to teach, and the vector stays as it is.
    """
    settings = job.params.repair.of_concepts(len(job.params.concepts))
    model, vector = base_model(job), TaskVector.load(job.inputs["vector"])
    alpha, looks = None, tuple[Look, ...]()
    if settings.steps:
        latents = concept_latents(job, read_tensors(job.inputs["images"])[0], model)
        looks = () if settings.alpha else those_looked_at(job, model, vector, latents)
        alpha = settings.alpha or (looks[-1].alpha if looks[-1].erases else None)
    if looks:
        vector = vector.noting(**{LOOKED_AT: json.dumps([asdict(look) for look in looks])})
    if alpha is None:
        vector.noting(repaired="0").save(job.outputs["repaired"])
        write_tensors({}, job.outputs["learned"])
        return
    lessons = lessons_of(job, model)
    learn, checkpoint = rounds_of(job, model, latents), job.scratch / "repair.safetensors"
    for step in repair(model, vector, alpha, lessons, settings, job.params.seed, checkpoint, learn):
        repaired = step.vector
        job.tell(Progress("repairing", step.number, settings.steps, f"loss {step.loss:.4f}"))
    repaired.noting(**{REPAIRED_AT: str(alpha)}, repaired=str(settings.steps)).save(job.outputs["repaired"])
    paths = [_found_path(job, number) for number in range(settings.rounds)]
    rounds = [read_tensors(path)[0] for path in paths if path.exists()]  # few steps have no room for every round
    words = {name: torch.cat(mine) for name in latents if (mine := [found[name] for found in rounds if name in found])}
    write_tensors(words, job.outputs["learned"])


def those_looked_at(job: Job, model: Model, vector: TaskVector, latents: Mapping[str, Tensor]) -> tuple[Look, ...]:
    """The strengths up to the one to repair, the first at which what tunes and words learned against it seem to fail."""
    params, settings = job.params, job.params.repair
    sets = {"tune": InversionSet.load(job.inputs["inversions"] / "tune.safetensors")}
    inputs = Inputs.of(model, params.concept_list, sets, params.invert)
    how = inputs, params.concept_list, judge_of(job), params.sampling, params.seed
    trial = replace(ModelTrial.of(model, vector, *how), purpose="repair/strength")
    job.tell(Progress("looking for the strength to repair", 0, 1))
    learn = learner(trial, params.concept_list, latents, attacks_of(settings.attacks), params.invert)
    looks = first_that_erases(trial, inputs.names["tune"], settings.alphas, settings.look, learn)
    none = f"none of {', '.join(f'{a:g}' for a in settings.alphas)} erases; not repaired"
    note = f"alpha {looks[-1].alpha:g}" if looks[-1].erases else none
    job.tell(Progress("looking for the strength to repair", 1, 1, note))
    return looks


def rounds_of(job: Job, model: Model, latents: Mapping[str, Tensor]) -> Learn:
    """What learns words against the model under repair, for each concept. latents: of each concept's images, by name.

    The words of a round stay in the job's scratch folder.
    """
    params, settings = job.params, job.params.repair

    attacks, judge = attacks_of(settings.attacks), judge_of(job)

    def learn(attacked: Model, number: int) -> Tensor:
        rows, words = [], {}
        for concept in params.concept_list:
            job.tell(Progress("attacking it", number + 1, settings.rounds, concept.name))
            rng = generator(params.seed, f"repair/{concept.name}/round {number}")
            known = owning(latents[concept.name]), params.invert, None, 1, judge, params.sampling
            target = Target(attacked, model, concept, rng, *known)
            found = all_findings(attacks, target)
            points = [one.point for one in found if one.point is not None]
            if points:
                words[concept.name] = torch.stack(points)
                varied = kept(
                    model, concept, words[concept.name], params.invert, settings.inputs, rng, settings.as_learned
                )
                rows.append(varied)
            rows += [in_turn(one.cond, settings.inputs) for one in found if one.point is None]
        write_tensors(words, _found_path(job, number))
        return torch.cat([model.null[:0], *rows])

    return learn


def _found_path(job: Job, number: int) -> Path:
    return job.scratch / f"words-{number}.safetensors"


STEP = Step(
    name="repair",
    sections=("seed", "concepts", "judge", "sampling", "invert", "repair"),
    inputs=lambda params: {
        "model": model_path(params),
        "images": params.out / "images.safetensors",
        "vector": params.out / "selected.safetensors",
        "inversions": params.out / "inversions",
        **judge_files(params),
    },
    outputs=lambda params: {
        "repaired": params.out / "repaired.safetensors",
        "learned": params.out / "learned.safetensors",  # the words of its rounds, by concept
    },
    run=run,
    plugins=lambda params: (*run_plugins(params), *attack_modules(params.repair.attacks)),
)

if __name__ == "__main__":
    from ._main import main

    main(STEP)
