"""A model on trial: the inputs that tune and validate, and images of them at any strength, seen by a judge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from .attacks.base import Attack
from .attacks.run import attack
from .bounds import Bound
from .concepts import Concept, Prompt, evenly, halves, spread
from .context import Context
from .inversion.diverse import Invert
from .inversion.run import space_of
from .inversion.sets import InversionSet
from .judges.base import shows
from .models.base import Model, in_turn
from .retention import Thumbnails, kept, thumbnails
from .rng import generator
from .sampling import draw
from .vector import StateDict, TaskVector

NAMES = 2  # prompts of the concept's names that tune; all of them are scored


@dataclass(frozen=True)
class Inputs:
    """Conditionings (M, ...) by name, the concept that each must not draw, and the names by role.

    An input of several conditionings is drawn by all of them in turn.
    """

    cond: dict[str, Tensor]
    concept: dict[str, Concept]
    names: dict[str, list[str]]

    @classmethod
    def of(cls, model: Model, concepts: Sequence[Concept], sets: Mapping[str, InversionSet], settings: Invert) -> Self:
        """The concepts' names and the accepted embeddings for `tune`; the held-out embeddings for `validate`."""
        inputs = cls({}, {}, {role: [] for role in sets})
        for concept in concepts:
            for prompt in concept.names[:NAMES]:
                inputs.add("tune", f"{concept.slug}: {prompt}", concept, model.encode([prompt]))
            if concept.tuning:
                inputs.add("tune", f"{concept.slug}: compositions", concept, model.encode(concept.tuning))
            if concept.validating and "validate" in sets:
                inputs.add("validate", f"{concept.slug}: grown", concept, model.encode(concept.validating))
            space = space_of(model, concept, settings)
            for role, inversions in sets.items():
                found = inversions.accepted(concept.name)
                for item, point in zip(found.found, found.points.to(model.null.device), strict=True):
                    inputs.add(role, item.name, concept, space.cond(point[None]).detach())
        return inputs

    def copy(self) -> "Inputs":
        """The same inputs. Additions to the copy do not change these."""
        return Inputs(dict(self.cond), dict(self.concept), {role: list(names) for role, names in self.names.items()})

    def add(self, role: str, name: str, concept: Concept, cond: Tensor) -> None:
        """One more input of a role."""
        self.cond[name], self.concept[name] = cond, concept
        self.names.setdefault(role, []).append(name)


@dataclass
class ModelTrial:
    """A `Trial` of theta_0 - alpha * tau.

    purpose: names the random numbers. latents: images of each concept, which attackers own. scale: a strength for each
    parameter, times alpha; None is one for all.
    """

    context: Context
    vector: TaskVector
    inputs: Inputs
    retain_prompts: Sequence[Prompt]
    purpose: str = "choose_strength"
    latents: Mapping[str, Tensor] = field(default_factory=dict)
    attacks: Sequence[Attack] = ()
    attacked: Sequence[float] = (1.0,)
    scale: dict[str, float] | None = None
    calls: dict[float, int] = field(default_factory=dict)  # of `recovery`, by strength
    _edited: dict[float, StateDict] = field(default_factory=dict)
    _retain: dict[tuple[float, int], Bound] = field(default_factory=dict)
    _base: dict[int, Thumbnails] = field(default_factory=dict)  # of the base model's images of so many retain prompts

    def selecting(self, scale: dict[str, float], purpose: str) -> "ModelTrial":
        """The same trial with a strength for each parameter and with other images."""
        return replace(self, scale=scale, purpose=purpose, calls={}, _edited={}, _retain={})

    def at(self, alpha: float) -> Model:
        """The edited model. The last strength is kept, since it is asked for again and again."""
        model = self.context.model
        if alpha == 0:
            return model
        if alpha not in self._edited:
            self._edited.clear()
            strength = alpha if self.scale is None else {key: alpha * s for key, s in self.scale.items()}
            self._edited[alpha] = self.vector.apply(model.weights(), strength, check=False)
        return model.with_weights(self._edited[alpha])

    def recovery(self, alpha: float, inputs: Sequence[str], images: int) -> list[int]:
        """For each input, in how many of `images` fresh images its concept is seen."""
        self.calls[alpha] = self.calls.get(alpha, 0) + 1
        rng = generator(self.context.seed, f"{self.purpose}/{alpha:g}/{self.calls[alpha]}")
        cond = torch.cat([in_turn(self.inputs.cond[name], images) for name in inputs])
        drawn = torch.split(draw(self.at(alpha), cond, rng, self.context.sampling), images)
        return [
            int(shows(self.context.judge, part, self.inputs.concept[name].label).sum())
            for name, part in zip(inputs, drawn, strict=True)
        ]

    def attack(self, alpha: float) -> list[str]:
        """What attacks find against the model at shares of this strength; each finding becomes an input."""
        names = []
        for share in self.attacked:
            purpose = f"{self.purpose}/{{concept}}/attack {alpha:g}/{share:g}"
            found = attack(self.context, self.at(share * alpha), self.latents, self.attacks, purpose)
            for number, (concept, finding) in enumerate(found):
                names.append(f"{concept.slug}/attack/{alpha:g}/{share:g}/{number}")
                self.inputs.add("attack", names[-1], concept, finding.cond)
        return names

    def retain_accuracy(self, alpha: float, images: int) -> Bound:
        """`images` retain prompts, spread evenly over the list. The same noise at every alpha, so that losses compare."""
        if (alpha, images) not in self._retain:
            self._retain[alpha, images] = self._kept(alpha, images)
        return self._retain[alpha, images]

    def _kept(self, alpha: float, images: int) -> Bound:
        which = evenly(self.retain_prompts, images)
        drawn = self._drawn(self.at(alpha), which)
        if alpha == 0:
            self._base[images] = thumbnails(drawn)
        elif images not in self._base and any(not prompt.labels for prompt in which):
            self._base[images] = thumbnails(self._drawn(self.context.model, which))
        return Bound(int(kept(drawn, which, self.context.judge, self._base.get(images)).sum()), images)

    def _drawn(self, model: Model, prompts: Sequence[Prompt]) -> Tensor:
        cond = model.encode([p.text for p in prompts])
        return draw(model, cond, generator(self.context.seed, f"{self.purpose}/control"), self.context.sampling)


def tuning_prompts(context: Context, purpose: str) -> Sequence[Prompt]:
    """The half of the retain prompts that tunes, in a random order."""
    tuning, _ = halves(context.concepts)
    return spread(tuning, len(tuning), generator(context.seed, f"{purpose}/prompts"))
