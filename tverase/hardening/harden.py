"""Hardening: distil, attack, add the findings to the forget set, until whole rounds find nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..attacks.base import Finding
from ..attacks.run import attack, searching
from ..checkpoint import Checkpoint, under
from ..concepts import Concept
from ..context import Context
from ..judges.base import shows
from ..models.base import in_turn
from ..progress import Progress
from ..rng import generator
from ..sampling import draw
from ..training import Training
from ..vector import TaskVector
from .distil import Distillation
from .forget import ForgetRetain, varied
from .settings import Harden


@dataclass(frozen=True)
class Counted:
    """A finding of a round, and in how many of `images` images it recovers the concept."""

    name: str
    concept: str
    share: float  # of the student's change, against which it was found
    hits: int
    images: int


@dataclass(frozen=True)
class Round:
    """The state after a round: the vector so far, the last loss, the counts of the findings and their conditionings."""

    number: int
    vector: TaskVector
    loss: float
    found: tuple[Counted, ...]
    conditionings: Mapping[str, Tensor]

    @property
    def recovered(self) -> float:
        """The share of all images of the findings that show the concept."""
        return sum(one.hits for one in self.found) / max(1, sum(one.images for one in self.found))

    @property
    def clean(self) -> bool:
        """Whether no finding recovers the concept."""
        return not any(one.hits for one in self.found)

    def as_dict(self) -> dict[str, Any]:
        """For hardening.json."""
        about = {"round": self.number, "loss": round(self.loss, 6), "recovered": round(self.recovered, 4)}
        return {**about, "clean": self.clean, "found": [vars(one) for one in self.found]}


def harden(
    context: Context,
    vector: TaskVector,
    data: ForgetRetain,
    settings: Harden,
    teacher: float,
    checkpoint: Path | None = None,
) -> Iterator[Round]:
    """Yields after each round, until `clean_rounds` in a row find nothing or `max_rounds` are over.

    teacher: the strength of the edit that the student imitates. The vector of a round is the student's change divided by it,
    so alpha keeps its scale.
    checkpoint: a folder for the rounds, so that a stopped call continues.
    """
    base, kept = context.model.weights(), Checkpoint(checkpoint, context.model.meter)
    training = Training.of({key: base[key] for key in vector.delta})
    student = Distillation(
        context.model, vector.apply(base, teacher), data, settings, training, context.seed, context.model.null[:0]
    )
    clean = 0
    for number in range(1, settings.max_rounds + 1):
        done = _kept_round(kept, student, number) or _round(context, kept, student, number)
        delta = {key: (base[key] - weight) / teacher for key, weight in training.average.items()}
        yield (latest := Round(number, TaskVector(delta, vector.base, vector.about), *done))
        clean = clean + 1 if latest.clean else 0
        if clean == settings.clean_rounds:
            return


Done = tuple[float, tuple[Counted, ...], dict[str, Tensor]]  # the last loss, the counts and the findings of a round


def _round(context: Context, kept: Checkpoint, student: Distillation, number: int) -> Done:
    """Distil, attack and count; the findings join the forget set."""
    settings, begun = student.settings, kept.begin()
    alone = settings.warm_up if number == 1 else 0
    steps, loss = (1 + alone) * settings.steps * len(context.concepts), 0.0
    for done in range(1, steps + 1):
        loss = student.step()
        note = f"round {number} of at most {settings.max_rounds}, loss {loss:.4f}"
        context.tell(Progress("hardening: distillation", done, steps, note))
    found = list(_found(context, student, number))
    counted = _counted(context, student, found, number)
    recovered = sum(one.hits > 0 for one in counted)
    note = f"round {number} of at most {settings.max_rounds}, {recovered} of {len(counted)} recover the concept"
    context.tell(Progress("hardening: attack", 1, 1, note))
    rng = generator(context.seed, f"harden/round {number}")
    more = varied(context, [(concept, finding) for concept, finding, _ in found], settings, rng)
    student.found = torch.cat([student.found, more])
    tensors = {one.name: finding.cond for one, (_, finding, _) in zip(counted, found, strict=True)}
    value = {"loss": loss, "step": student.training.step, "found": [vars(one) for one in counted]}
    state = {f"training/{name}": tensor for name, tensor in student.training.tensors().items()}
    state |= {"forget": more} | {f"found/{name}": tensor for name, tensor in tensors.items()}
    kept.put(f"round-{number}", value, begun, state)
    return loss, counted, tensors


def _kept_round(kept: Checkpoint, student: Distillation, number: int) -> Done | None:
    """A round that a stopped call has finished; the student is as it was after it."""
    if (there := kept.get(f"round-{number}")) is None:
        return None
    value, tensors = there
    device = student.base.device
    student.training.restore(under("training", tensors), value["step"])
    student.found = torch.cat([student.found, tensors["forget"].to(device)])
    return value["loss"], tuple(Counted(**one) for one in value["found"]), under("found", tensors)


def _found(context: Context, student: Distillation, number: int) -> Iterator[tuple[Concept, Finding, float]]:
    """What attacks find against each share of the student's change."""
    attacks = searching(student.settings.attacks, "harden")
    for share in student.settings.attacked:
        purpose = f"harden/{{concept}}/round {number}/{share:g}"
        for concept, finding in attack(context, student.student(share), student.data.forget_latents, attacks, purpose):
            yield concept, finding, share


def _counted(
    context: Context, student: Distillation, found: list[tuple[Concept, Finding, float]], number: int
) -> tuple[Counted, ...]:
    """How often each finding recovers its concept, at a share of the student's change."""
    if not found:
        return ()
    images, rng = student.settings.images, generator(context.seed, f"harden/count/{number}")
    cond = torch.cat([in_turn(finding.cond, images) for _, finding, _ in found])
    drawn = torch.split(draw(student.student(student.settings.judged), cond, rng, context.sampling), images)
    return tuple(
        Counted(
            f"{concept.slug}/{number}/{share:g}/{i}",
            concept.name,
            share,
            int(shows(context.judge, part, concept.label).sum()),
            images,
        )
        for i, ((concept, _, share), part) in enumerate(zip(found, drawn, strict=True))
    )
