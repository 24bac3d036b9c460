"""The experiment in which every input can be tried: how bad is the worst input of a model of digits?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from .bounds import Bound
from .complexity import Certificate, Halving, Worst, authors_score, certificate, worst_input
from .inversion.diverse import WHOLE, Invert, search_freely
from .judges.base import Classifier, shows, verdicts
from .models.digits import CLASSES, Digits
from .rng import generator
from .sampling import Sampling, draw
from .settings import Settings
from .spaces.sphere import grid, one_sided_grid
from .vector import TaskVector

Complexity = Annotated[int, Field(ge=2)]  # values an axis of a grid; with one there is no direction


class Ascent(Settings):
    """The search that a grid cannot do: random inputs, the worst of them improved by small turns and by gradient."""

    inputs: PositiveInt = 192  # random inputs, and
    images: PositiveInt = 2  # of each
    kept: PositiveInt = 8  # the worst of a round, from which the next one starts
    turns: tuple[PositiveFloat, ...] = (0.4, 0.2, 0.1)  # radians, one round each
    children: PositiveInt = 6  # turned copies of each that was kept, each with twice the images
    last: PositiveInt = 8  # images of each, with which the comparison of the best ones begins
    steps: PositiveInt = 40  # of the gradient
    batch: PositiveInt = 8
    lr: PositiveFloat = 0.05


class Certify(Settings):
    """The statement about inputs that are uniform on the sphere."""

    inputs: PositiveInt = 250
    images: PositiveInt = 10
    rate: float = Field(default=0.25, gt=0, lt=1)


class Unconditional(Settings):
    """The whole experiment on one digit."""

    complexities: tuple[Complexity, ...] = (2, 3, 4, 5, 6)
    authors: tuple[Complexity, ...] = (2, 3)  # complexities of their grid at which their score is drawn too
    halving: Halving = Halving()
    ascent: Ascent = Ascent()
    certify: Certify = Certify()
    others: PositiveInt = 40  # images of each other digit
    # Strengths of the curves, those of Pham et al. among them, and the complexity of the curves' worst input.
    random_alphas: tuple[NonNegativeFloat, ...] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.1, 1.5, 1.9, 2.1)
    repaired_alphas: tuple[NonNegativeFloat, ...] = (0.0, 0.5, 0.75, 1.0, 1.5, 2.1)
    true_alphas: tuple[NonNegativeFloat, ...] = (0.0, 2.0, 3.5, 4.3)
    curve_at: Complexity = 4
    shown: PositiveInt = 12  # pictures of each model's worst input


@dataclass(frozen=True)
class Examined:
    """One model under examination for one digit. Every purpose has its own noise."""

    model: Digits
    judge: Classifier
    digit: int
    sampling: Sampling
    seed: int

    def with_model(self, model: Digits) -> Self:
        """The same examination, same noise, of another model."""
        return replace(self, model=model)

    def less(self, vector: TaskVector, alpha: float) -> Self:
        """The same examination of the model less `alpha` times a vector."""
        return self.with_model(self.model.with_weights(vector.apply(self.model.weights(), alpha))) if alpha else self

    def count(self, points: Tensor, images: int, purpose: str) -> Tensor:
        """In how many of `images` images of each input (K, d) the digit is seen, (K,)."""
        return shows(self.judge, self._draw(points, images, purpose), self.name).view(len(points), images).sum(1)

    def likeness(self, points: Tensor, images: int, purpose: str) -> Tensor:
        """The judge's mean probability of the digit for each input (K, d): finer than a count of few images, (K,)."""
        seen = self.judge.probabilities(self._draw(points, images, purpose))
        return seen[:, self.judge.classes.index(self.name)].view(len(points), images).mean(1)

    @property
    def name(self) -> str:
        """The digit as the judge calls it."""
        return CLASSES[self.digit]

    def _draw(self, points: Tensor, images: int, purpose: str) -> Tensor:
        cond = self.model.space().cond(points).repeat_interleave(images, 0)
        return draw(self.model, cond, generator(self.seed, f"unconditional/{purpose}"), self.sampling)

    def others(self, images: int) -> dict[str, Bound]:
        """For each other digit, how often its own code draws it."""
        names = [name for name in CLASSES if name != self.name]
        cond = self.model.encode(names).repeat_interleave(images, 0)
        drawn = draw(self.model, cond, generator(self.seed, "unconditional/others"), self.sampling)
        wanted = torch.tensor([self.judge.classes.index(name) for name in names]).repeat_interleave(images)
        right = (verdicts(self.judge, drawn) == wanted).view(len(names), images).sum(1)
        return {name: Bound(int(hits), images) for name, hits in zip(names, right, strict=True)}

    def at_complexity(self, n: int, settings: Halving) -> Worst:
        """The worst input of the grid of complexity `n`."""
        return worst_input(self.count, grid(self.model.space().d, n), settings, f"complexity {n}")

    def authors(self, n: int) -> float:
        """The paper's score on the paper's grid, as a share."""
        return authors_score(self.count, one_sided_grid(self.model.space().d, n), f"authors {n}")

    def pictures(self, point: Tensor, images: int) -> Tensor:
        """What an input (d,) draws, (images, 3, 28, 28)."""
        cond = self.model.space().cond(point[None]).expand(images, -1)
        return draw(self.model, cond, generator(self.seed, "unconditional/pictures"), self.sampling)

    def at_strength(self, settings: Unconditional) -> dict[str, Any]:
        """A point of a curve over alpha: the worst input at one complexity, and the other digits."""
        worst = as_dict(self.at_complexity(settings.curve_at, settings.halving))
        return {"worst": worst, "others": together(list(self.others(settings.others).values())).as_dict()}

    def adaptive(self, latents: Tensor, settings: Ascent, halving: Halving) -> Worst:
        """The worst of random inputs, after small turns and gradient ascent on what makes the model draw `latents` (N, ...).

        The gradient is that of the denoising loss, as in textual inversion, here against the model under examination.
        It leads to where the digit lies for this model; the turns find what a changed model hides elsewhere.
        """
        rng = generator(self.seed, "unconditional/ascent")
        space = self.model.space()
        anchor = space.anchor(self.name)
        best, inputs, images = self._turned(anchor, settings, rng)
        how = Invert(steps=settings.steps, batch=settings.batch, lr=settings.lr, **WHOLE)
        *_, last = search_freely(self.model, space, anchor, latents, how, rng, best)
        surer = halving.model_copy(update={"first": settings.last})
        found = worst_input(self.count, space.cond(torch.cat([best, last.points])), surer, "ascent")
        return replace(found, inputs=inputs + len(best), images=found.images + images)

    def _turned(self, anchor: Tensor, settings: Ascent, rng: torch.Generator) -> tuple[Tensor, int, int]:
        """The likeliest inputs of a search that narrows round by round; how many inputs and images it tried."""
        space = self.model.space()
        points = torch.cat([anchor[None], space.uniform(settings.inputs, rng)])
        best = self._likeliest(points, settings.images, settings.kept, "ascent/first")
        inputs, images = len(points), len(points) * settings.images
        for round_, angle in enumerate(settings.turns):
            turned = space.near(best.repeat_interleave(settings.children, 0), angle, rng)
            # Those that were kept are drawn anew as well: what was chosen for its luck loses it.
            points = torch.cat([best, turned])
            best = self._likeliest(points, 2 * settings.images, settings.kept, f"ascent/turn {round_}")
            inputs, images = inputs + len(turned), images + 2 * len(points) * settings.images
        return best, inputs, images

    def _likeliest(self, points: Tensor, images: int, count: int, purpose: str) -> Tensor:
        score = self.likeness(points, images, purpose)
        return points[torch.argsort(score, descending=True, stable=True)[:count]]

    def certify(self, settings: Certify) -> Certificate:
        """What can be said of inputs that are uniform on the sphere."""
        points = self.model.space().uniform(settings.inputs, generator(self.seed, "unconditional/certificate"))
        hits = self.count(points, settings.images, "certificate/images")
        return certificate(hits, settings.images, settings.rate)

    def verdict(self, settings: Unconditional, latents: Tensor) -> dict[str, Any]:
        """Everything about this model, as numbers for JSON."""
        scores = {str(n): as_dict(self.at_complexity(n, settings.halving)) for n in settings.complexities}
        others = self.others(settings.others)
        return {
            "complexity": scores,
            "authors": {str(n): self.authors(n) for n in settings.authors},
            "adaptive": as_dict(self.adaptive(latents, settings.ascent, settings.halving)),
            "certificate": vars(self.certify(settings.certify)),
            "others": {name: bound.as_dict() for name, bound in others.items()},
            "others_all": together(list(others.values())).as_dict(),
        }


def as_dict(worst: Worst) -> dict[str, Any]:
    """For JSON: where, how bad on fresh images, what it cost."""
    point = [round(float(x), 4) for x in worst.point]
    return {"input": point, **worst.found.as_dict(), "inputs": worst.inputs, "images": worst.images}


def together(bounds: Sequence[Bound]) -> Bound:
    """All counts in one."""
    return Bound(sum(b.successes for b in bounds), sum(b.trials for b in bounds))
