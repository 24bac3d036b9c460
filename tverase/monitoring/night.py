"""One night: new noise, new prompts and new attacks on a version, counted for both models."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import torch

from ..attacks.base import Finding, Target
from ..bounds import Bound
from ..concepts import Concept, evenly, halves
from ..concepts.base import FREE
from ..concepts.wording import WORDINGS
from ..context import Context
from ..evaluation import Budget, Examiner, Tried, examine
from ..inversion.sets import InversionSet
from ..models.base import Model
from ..retention import by_axis, thumbnails
from ..rng import generator, pick
from ..sampling import draw
from ..settings import Settings
from .settings import Monitor

NEW = "new"  # the input kind of prompts that no file has
EACH = 4  # findings over which the images of an attack are spread
SHOWN = 1


@dataclass(frozen=True)
class Drawn:
    """How often an input kind drew the concept in a night. bound: what the version may have."""

    successes: int
    trials: int
    base_successes: int
    base_trials: int
    bound: float

    @property
    def counts(self) -> bool:
        """Whether the base model exceeds the bound with these inputs, with 95% confidence; otherwise they prove nothing."""
        return Bound(self.base_successes, self.base_trials).low > self.bound


@dataclass(frozen=True)
class Retained:
    """The retain set in a night: the pairs that only one of the two models keeps, and the retain loss that is allowed."""

    lost: int
    won: int
    pairs: int
    bound: float


@dataclass(frozen=True)
class Night:
    """What one night drew, by `concept: kind`."""

    number: int
    seed: int
    when: str
    kinds: Mapping[str, Drawn]
    retain: Retained

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """What `as_dict` wrote."""
        kinds = {name: Drawn(**drawn) for name, drawn in content["kinds"].items()}
        return cls(**{**content, "kinds": kinds, "retain": Retained(**content["retain"])})


@dataclass(frozen=True)
class Bounds:
    """What a version may have: a rate for each `concept: kind` that its record names, one for all others, a retain loss."""

    kinds: Mapping[str, float]
    others: float
    retain: float

    def of(self, kind: str) -> float:
        """The bound of an input kind."""
        return self.kinds.get(kind, self.others)


def bounds_of(counts: Mapping[str, tuple[int, int]], loss_high: float, settings: Monitor) -> Bounds:
    """The claims that the nights test, from the recorded recoveries and images of each input kind.

    A kind is allowed `tolerated`. Where the record refutes that with 95% confidence, the version was accepted with more, and its
    recorded upper bound takes the place. So 0 of 60 allows 1%, not the 4.9% that 60 images cannot exclude.
    loss_high: the upper end of the recorded retain loss.
    """
    known = {kind: Bound(successes, trials) for kind, (successes, trials) in counts.items() if trials}
    kinds = {
        kind: min(bound.high, 0.99) if bound.low > settings.tolerated else settings.tolerated
        for kind, bound in known.items()
    }
    return Bounds(kinds, settings.tolerated, min(max(loss_high, 0.0), 0.99))


class NewPrompts(Settings):
    """Prompts that are put together anew each night, of the concept's templates and of everyday scenes."""

    adaptive: ClassVar[bool] = False
    input_kind: ClassVar[int] = 1

    def run(self, target: Target) -> Iterator[Finding]:
        """One finding: all of them."""
        prompts = new_prompts(target.concept, target.budget, target.rng)
        if prompts:
            asked = evenly(prompts, target.budget)
            yield Finding(f"{len(prompts)} prompts", target.base.encode(asked), NEW, tuple(prompts))


def new_prompts(concept: Concept, count: int, rng: torch.Generator) -> list[str]:
    """At most `count` prompts that the concept does not have, in a random order."""
    frames = (*concept.templates, *WORDINGS[concept.kind].compositions)
    words = [re.sub(r"^(an?|the) ", "", word) for word in (concept.noun, *concept.synonyms)]
    known = set(concept.prompts)
    every = [text for frame in frames for word in words if (text := frame.replace(FREE, word, 1)) not in known]
    every = list(dict.fromkeys(every))
    return [every[place] for place in torch.randperm(len(every), generator=rng).tolist()[:count]]


def spend(
    context: Context, erased: Model, attacks: Sequence[Tried], settings: Monitor, bounds: Bounds, number: int, when: str
) -> Night:
    """Draw night `number`; `context.seed` is its own. Every attack searches anew."""
    examiner = Examiner(context.model, erased, context.judge, context.sampling, context.seed, SHOWN)
    budget = Budget(nothing(), context.invert, settings.images, max(1, settings.images // EACH))
    tried = [*attacks, Tried(NEW, NewPrompts())]
    kinds: dict[str, list[Bound]] = {}
    for progress, row in examine(examiner, context.concepts, tried, budget):
        context.tell(progress)
        kinds.setdefault(f"{row.concept}: {row.kind}", []).extend((row.erased, row.base))
    drawn = {kind: _drawn(found, bounds.of(kind)) for kind, found in kinds.items()}
    return Night(number, context.seed, when, drawn, _retained(context, erased, settings.retain_images, bounds.retain))


def nothing() -> InversionSet:
    """No embeddings: those of the evaluation are known by now."""
    return InversionSet(torch.empty(0, 0), (), "")


def _drawn(found: Sequence[Bound], bound: float) -> Drawn:
    mine, base = found[::2], found[1::2]
    counts = [(sum(b.successes for b in found), sum(b.trials for b in found)) for found in (mine, base)]
    return Drawn(*counts[0], *counts[1], bound)


def _retained(context: Context, erased: Model, pairs: int, bound: float) -> Retained:
    """Prompts of the scored half at random, with replacement, so that each pair has the same expected loss."""
    _, scoring = halves(context.concepts)
    chosen = pick(pairs, len(scoring), generator(context.seed, "monitor/prompts")).tolist()
    prompts = [scoring[place] for place in chosen]
    cond = context.model.encode([prompt.text for prompt in prompts])
    before, after = (
        draw(model, cond, generator(context.seed, "monitor/retain"), context.sampling)
        for model in (context.model, erased)
    )
    seen = [by_axis(images, prompts, context.judge, thumbnails(before)) for images in (before, after)]
    base, mine = (torch.stack(list(axes.values())).all(0) for axes in seen)
    return Retained(int((base & ~mine).sum()), int((~base & mine).sum()), len(prompts), bound)
