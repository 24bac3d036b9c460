"""A model under trial: images at any strength, looked at by a judge."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .bounds import Bound
from .concepts import Prompt
from .judges.base import Judge, shows, verdicts
from .models.base import Model
from .rng import generator
from .sampling import Sampling, draw
from .vector import StateDict, TaskVector


@dataclass(frozen=True)
class Jury:
    """The judges: of objects and of styles."""

    thing: Judge
    style: Judge

    def of(self, kind: str) -> Judge:
        """The judge for a concept of this kind."""
        return self.thing if kind == "object" else self.style


def right(images: Tensor, prompts: Sequence[Prompt], jury: Jury) -> Tensor:
    """Which images show what their prompt asks for, object and style both where both are asked for: bool (B,)."""
    seen = torch.ones(len(images), dtype=torch.bool)
    for judge, wanted in ((jury.thing, [p.thing for p in prompts]), (jury.style, [p.style for p in prompts])):
        asked = torch.tensor([w is not None for w in wanted])
        classes = torch.tensor([judge.classes.index(w) if w is not None else 0 for w in wanted])
        if asked.any():
            seen &= ~asked | (verdicts(judge, images) == classes)
    return seen


@dataclass
class ModelTrial:
    """A `Trial` of theta_0 - alpha * tau. `inputs` holds the conditioning (1, T, D) of each input by name."""

    model: Model
    vector: TaskVector
    inputs: dict[str, Tensor]
    concept: dict[str, tuple[str, Judge]]  # input -> the class it must not draw, and who looks
    controls: Sequence[Prompt]
    jury: Jury
    sampling: Sampling
    seed: int
    purpose: str
    scale: dict[str, float] | None = None  # a strength for each parameter, times alpha; None is one for all
    calls: int = 0
    _edited: dict[float, StateDict] = field(default_factory=dict)

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
        cond = torch.cat([self.inputs[name].expand(images, -1, -1) for name in inputs])
        drawn = draw(self.at(alpha), cond, self._rng(), self.sampling)
        hits = []
        for name, part in zip(inputs, drawn.split(images), strict=True):
            wanted, judge = self.concept[name]
            hits.append(int(shows(judge, part, wanted).sum()))
        return hits

    def control(self, alpha: float, images: int) -> Bound:
        """`images` control prompts, spread evenly over the list. The same noise at every alpha, so that losses compare."""
        which = [self.controls[i * len(self.controls) // images] for i in range(images)]
        cond = self.model.encode([p.text for p in which])
        drawn = draw(self.at(alpha), cond, generator(self.seed, f"{self.purpose}/control"), self.sampling)
        return Bound(int(right(drawn, which, self.jury).sum()), images)
