"""A model under trial: images at any strength, looked at by a judge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

from .bounds import Bound
from .concepts import Concept, Prompt, evenly, halves, spread
from .inversion.diverse import Invert
from .inversion.run import space_of
from .inversion.sets import InversionSet
from .judges.base import Judge, shows
from .models.base import Model, in_turn
from .progress import Progress, Tell, silent
from .retention import Thumbnails, kept, thumbnails
from .rng import generator
from .sampling import Sampling, draw
from .strength import Strength, StrengthCurve
from .vector import StateDict, TaskVector

NAMES = 2  # prompts of rung 0 that tune; the report has all of them


@dataclass(frozen=True)
class Inputs:
    """The inputs that a strength is tuned and accepted on: conditionings (M, T, D), what each must not draw.

    An input of several conditionings is drawn by all of them in turn.
    """

    cond: dict[str, Tensor]
    concept: dict[str, Concept]
    names: dict[str, list[str]]  # role -> inputs
    points: dict[str, Tensor] = field(default_factory=dict)  # the embeddings of the inputs that were learned as words

    @classmethod
    def of(cls, model: Model, concepts: Sequence[Concept], sets: Mapping[str, InversionSet], settings: Invert) -> Self:
        """The concepts' names and the accepted embeddings for `tune`; the held-out embeddings for `validate`."""
        cond: dict[str, Tensor] = {}
        mine: dict[str, Concept] = {}
        names: dict[str, list[str]] = {role: [] for role in sets}
        for concept in concepts:
            for prompt in concept.names[:NAMES]:
                cond[f"{concept.slug}: {prompt}"] = model.encode([prompt])
                mine[f"{concept.slug}: {prompt}"] = concept
                names["tune"].append(f"{concept.slug}: {prompt}")
            if concept.tuning:
                name = f"{concept.slug}: compositions"
                cond[name], mine[name] = model.encode(concept.tuning), concept
                names["tune"].append(name)
            space = space_of(model, concept, settings)
            if concept.validating and "validate" in names:
                name = f"{concept.slug}: grown"
                cond[name], mine[name] = model.encode(concept.validating), concept
                names["validate"].append(name)
            for role, inversions in sets.items():
                found = inversions.accepted(concept.name)
                points = found.points.to(model.null.device)
                for item, point in zip(found.found, points, strict=True):
                    cond[item.name], mine[item.name] = space.cond(point[None]).detach(), concept
                    names[role].append(item.name)
        return cls(cond, mine, names)


@dataclass
class ModelTrial:
    """A `Trial` of theta_0 - alpha * tau."""

    model: Model
    vector: TaskVector
    inputs: Inputs
    controls: Sequence[Prompt]
    judge: Judge
    sampling: Sampling
    seed: int
    purpose: str = "search_strength"
    scale: dict[str, float] | None = None  # a strength for each parameter, times alpha; None is one for all
    calls: int = 0
    became: int = 0  # so often another vector's
    _edited: dict[float, StateDict] = field(default_factory=dict)
    _weighed: dict[tuple[float, int], Bound] = field(default_factory=dict)
    _base: dict[int, Thumbnails] = field(default_factory=dict)  # of the base model's images of so many retain prompts

    @classmethod
    def of(
        cls,
        model: Model,
        vector: TaskVector,
        inputs: Inputs,
        concepts: Sequence[Concept],
        judge: Judge,
        sampling: Sampling,
        seed: int,
    ) -> Self:
        """The trial of a vector; its retain prompts are those that tune, in a random order."""
        tuning, _ = halves(concepts)
        mixed = spread(tuning, len(tuning), generator(seed, "search_strength/prompts"))
        return cls(model, vector, inputs, mixed, judge, sampling, seed)

    def of_vector(self, vector: TaskVector) -> Self:
        """The same trial of another vector; what the base model keeps need not be drawn again."""
        return replace(self, vector=vector, calls=0, _edited={}, _weighed=self._of_base())

    def become(self, vector: TaskVector) -> None:
        """From now on the trial of another vector, with the same inputs."""
        self.vector, self._edited, self._weighed = vector, {}, self._of_base()
        self.became += 1

    def _of_base(self) -> dict[tuple[float, int], Bound]:
        """What the base model keeps, which is the same for every vector."""
        return {key: bound for key, bound in self._weighed.items() if key[0] == 0}

    def at(self, alpha: float) -> Model:
        """The edited model. The last strength is kept, since it is asked for again and again."""
        if alpha == 0:
            return self.model
        if alpha not in self._edited:
            self._edited.clear()
            strength = alpha if self.scale is None else {key: alpha * s for key, s in self.scale.items()}
            self._edited[alpha] = self.vector.apply(self.model.weights(), strength, check=False)
        return self.model.with_weights(self._edited[alpha])

    def _rng(self) -> torch.Generator:
        self.calls += 1
        return generator(self.seed, f"{self.purpose}/{self.calls}")

    def recovery(self, alpha: float, inputs: Sequence[str], images: int) -> list[int]:
        """For each input, in how many of `images` fresh images its concept is seen."""
        cond = torch.cat([in_turn(self.inputs.cond[name], images) for name in inputs])
        drawn = draw(self.at(alpha), cond, self._rng(), self.sampling)
        hits = []
        for name, part in zip(inputs, torch.split(drawn, images), strict=True):
            hits.append(int(shows(self.judge, part, self.inputs.concept[name].label).sum()))
        return hits

    def control(self, alpha: float, images: int) -> Bound:
        """`images` control prompts, spread evenly over the list. The same noise at every alpha, so that losses compare."""
        if (alpha, images) not in self._weighed:  # always the same images, so drawn once
            self._weighed[alpha, images] = self._control(alpha, images)
        return self._weighed[alpha, images]

    def remember(self, alpha: float, control: Bound) -> None:
        """What `control` said at a strength, before this trial was stopped."""
        self._weighed[alpha, control.trials] = control

    def _control(self, alpha: float, images: int) -> Bound:
        which = evenly(self.controls, images)
        drawn = self._drawn(self.at(alpha), which)
        if alpha == 0:
            self._base[images] = thumbnails(drawn)
        elif images not in self._base and any(not prompt.labels for prompt in which):
            self._base[images] = thumbnails(self._drawn(self.model, which))
        return Bound(int(kept(drawn, which, self.judge, self._base.get(images)).sum()), images)

    def _drawn(self, model: Model, prompts: Sequence[Prompt]) -> Tensor:
        cond = model.encode([p.text for p in prompts])
        return draw(model, cond, generator(self.seed, f"{self.purpose}/control"), self.sampling)


def frontier(
    trial: ModelTrial, curve: StrengthCurve, inputs: Inputs, settings: Strength, tell: Tell = silent
) -> StrengthCurve:
    """The curve with recovery and control around the answer, from a few images each: for people, not for the decision."""
    centre = curve.alpha or curve.safe_alpha or settings.alpha_max
    weighed = {0.0, centre}  # by the search, with all its control images
    names = [name for name in inputs.names["tune"] if ": " in name]
    embeddings = [name for name in inputs.names["tune"] if ": " not in name]
    points: list[dict[str, Any]] = []
    for done, factor in enumerate(settings.frontier):
        alpha, count = round(centre * factor, 4), settings.frontier_images
        tell(Progress("drawing the frontier", done, len(settings.frontier), f"alpha {alpha:g}"))
        counts = dict(zip(names + embeddings, trial.recovery(alpha, names + embeddings, count), strict=True))
        worst = max(embeddings or names, key=lambda name: counts[name])
        points.append(
            {
                "alpha": alpha,
                "name": Bound(sum(counts[n] for n in names), count * len(names)).as_dict(),
                "worst": Bound(counts[worst], count).as_dict(),
                "worst_input": worst,
                "control": trial.control(
                    alpha, settings.control_images if alpha in weighed else settings.frontier_controls
                ).as_dict(),
            }
        )
    return replace(curve, frontier=tuple(points))
