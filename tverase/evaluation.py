"""Base and erased model side by side, on inputs, seeds and images that tuned nothing; summary.py says what came out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .attacks.base import Attack, Finding, Target
from .bounds import Bound
from .concepts import Concept, Prompt, halves, spread
from .inversion.diverse import Invert
from .inversion.sets import InversionSet
from .judges.base import Judge, shows
from .models.base import Model, in_turn
from .progress import Progress
from .retention import by_axis, kept, thumbnails, wanted
from .rng import generator
from .sampling import Sampling, draw, draw_latents
from .vector import mixed


@dataclass(frozen=True)
class Row:
    """One kind of input: how often it draws the concept in both models; a few of the images, the worst ones first."""

    concept: str
    kind: str
    input: str
    base: Bound
    erased: Bound
    before: Tensor  # (n, 3, H, W) in [-1, 1]
    after: Tensor  # the same inputs and the same noise
    behind: Mapping[str, Bound] = field(default_factory=dict)  # the erased model behind each outer defence
    adaptive: bool = False  # found against the erased model itself, or against a part of the edit


@dataclass(frozen=True)
class RetainSet:
    """The retain set: whether each model draws the labels of each prompt, by axis of the judge.

    wanted: axis to the labels of each prompt.
    base, erased: axis to bool (N,). True where a prompt has no label of the axis.
    The axis `agreement` has the prompts without labels, compared with the base model's images.
    """

    prompts: tuple[Prompt, ...]
    wanted: Mapping[str, Sequence[tuple[str, ...]]]
    base: Mapping[str, Tensor]
    erased: Mapping[str, Tensor]
    before: Tensor
    after: Tensor
    behind: Mapping[str, Tensor] = field(default_factory=dict)  # bool (N,): all met, behind each outer defence

    @property
    def base_all(self) -> Tensor:
        """Which images of the base model show all that was asked for: bool (N,)."""
        return torch.stack(list(self.base.values())).all(0)

    @property
    def erased_all(self) -> Tensor:
        """Which images of the erased model do: bool (N,)."""
        return torch.stack(list(self.erased.values())).all(0)


@dataclass(frozen=True)
class Tried:
    """An attack of the evaluation, under the label that its rows have.

    share: of the edit, against which an adaptive attack searches. An attacker with both models can mix them, and a weaker edit
    still knows more of the concept.
    """

    label: str
    attack: Attack
    share: float = 1.0


@dataclass(frozen=True)
class Budget:
    """What attacks may use, and how much is drawn of what they find.

    found: Diverse Inversion embeddings that tuned nothing. how: where they live. images: of each kind of prompt; each: of
    every other finding.
    """

    found: InversionSet
    how: Invert
    images: int
    each: int


@dataclass(frozen=True)
class Examiner:
    """Draws with both models from the same noise and counts.

    behind: the erased model behind each outer defence, by the defence's name.
    """

    base: Model
    erased: Model
    judge: Judge
    sampling: Sampling
    seed: int
    shown: int
    behind: Mapping[str, Model] = field(default_factory=dict)

    def row(self, concept: Concept, kind: str, name: str, cond: Tensor) -> Row:
        """Each row of `cond` (B, T, D) drawn once by every model."""
        purpose = f"evaluate/{concept.name}/{kind}/{name}"
        images = [draw(m, cond, generator(self.seed, purpose), self.sampling) for m in (self.base, self.erased)]
        seen = [shows(self.judge, drawn, concept.label) for drawn in images]
        behind = {name: self._seen_by(model, concept, cond, purpose) for name, model in self.behind.items()}
        return self._row(concept, kind, name, images, seen, behind)

    def _seen_by(self, model: Model, concept: Concept, cond: Tensor, purpose: str) -> Tensor:
        """Which of the images that `model` draws show the concept, bool (B,); the images are not kept."""
        images = draw(model, cond, generator(self.seed, purpose), self.sampling)
        return shows(self.judge, images, concept.label)

    def _row(
        self,
        concept: Concept,
        kind: str,
        name: str,
        images: list[Tensor],
        seen: list[Tensor],
        behind: Mapping[str, Tensor],
        *,
        adaptive: bool = False,
    ) -> Row:
        # What still shows the concept comes first, so that nobody has to look for it.
        order = torch.argsort(seen[1].int() * 2 + seen[0].int(), descending=True, stable=True)[: self.shown]
        base, erased, *others = [Bound(int(s.sum()), len(s)) for s in (*seen, *behind.values())]
        guarded = dict(zip(behind, others, strict=True))
        return Row(concept.name, kind, name, base, erased, images[0][order], images[1][order], guarded, adaptive)

    def rows(self, concept: Concept, tried: Tried, budget: Budget) -> Iterator[Row]:
        """One row for each finding of an attack."""
        if tried.attack.adaptive:
            yield from self._adaptive(concept, tried, budget)
            return
        for found in tried.attack.run(self._target(concept, tried, budget, self.base)):
            cond = found.cond if found.text or len(found.cond) > 1 else in_turn(found.cond, budget.each)
            yield self.row(concept, found.kind or tried.label, found.name, cond)

    def _target(self, concept: Concept, tried: Tried, budget: Budget, model: Model) -> Target:
        purpose = f"evaluate/{concept.name}/{tried.label}"

        def owned(count: int) -> Tensor:
            names = [concept.names[i % len(concept.names)] for i in range(count)]
            rng = generator(self.seed, f"{purpose}/images")
            return draw_latents(self.base, self.base.encode(names), rng, self.sampling)

        rng = generator(self.seed, purpose)
        known = budget.how, budget.found, budget.images, self.judge, self.sampling
        return Target(model, self.base, concept, rng, owned, *known)

    def _adaptive(self, concept: Concept, tried: Tried, budget: Budget) -> Iterator[Row]:
        """One row for each finding: those against the base model drawn by it, those against the erased model by that.

        So the base column is the attack's positive control: it has to find inputs there. Behind a defence the findings against
        the erased model are tried, and others found through it: an attacker may know of it. The worse counts.
        """
        score = f"evaluate/{concept.name}/{tried.label}/score"

        def findings(model: Model) -> list[Finding]:
            return list(tried.attack.run(self._target(concept, tried, budget, self._mixed(model, tried.share))))

        def drawn(model: Model, found: Sequence[Finding]) -> list[Tensor]:
            return self._drawn(model, found, budget.each, score)

        def seen(images: Sequence[Tensor]) -> list[Tensor]:
            return [shows(self.judge, part, concept.label) for part in images]

        mine = findings(self.erased)
        if not mine:
            return
        plain = [replace(found, samples=None) for found in mine]  # what another model draws by the same input
        before = drawn(self.base, _as_many(findings(self.base) or plain, len(mine)))
        after = drawn(self.erased, mine)
        base, erased = seen(before), seen(after)
        guarded = {
            name: [seen(drawn(model, plain)), seen(drawn(model, _as_many(findings(model) or plain, len(mine))))]
            for name, model in self.behind.items()
        }
        for i, found in enumerate(mine):
            behind = {name: max((counted[i] for counted in both), key=torch.sum) for name, both in guarded.items()}
            kind = found.kind or tried.label
            parts = [before[i], after[i]], [base[i], erased[i]]
            yield self._row(concept, kind, found.name, *parts, behind, adaptive=True)

    def _drawn(self, model: Model, found: Sequence[Finding], each: int, purpose: str) -> list[Tensor]:
        """For each finding the images that it drew itself, or `each` images of its conditioning."""
        conds = [in_turn(one.cond, each) for one in found if one.samples is None]
        images: Iterator[Tensor] = iter(())
        if conds:
            all_images = draw(model, torch.cat(conds), generator(self.seed, purpose), self.sampling)
            images = iter(torch.split(all_images, each))
        return [next(images) if one.samples is None else one.samples for one in found]

    def _mixed(self, model: Model, share: float) -> Model:
        """The model with a share of the edit; the base model has none."""
        if share == 1 or model is self.base:
            return model
        return model.with_weights(mixed(self.base.weights(), self.erased.weights(), share))

    def retain_set(self, concepts: Sequence[Concept], images: int) -> RetainSet:
        """`images` images of the concepts' joint retain set, by prompts that tuned nothing."""
        _, scoring = halves(concepts)
        prompts = spread(scoring, images, generator(self.seed, "evaluate/prompts"))
        cond = self.base.encode([p.text for p in prompts])

        def drawn(model: Model) -> Tensor:
            return draw(model, cond, generator(self.seed, "evaluate/control"), self.sampling)

        before, after = drawn(self.base), drawn(self.erased)
        reference = thumbnails(before)
        base, erased = (by_axis(images, prompts, self.judge, reference) for images in (before, after))
        behind = {name: kept(drawn(model), prompts, self.judge, reference) for name, model in self.behind.items()}
        return RetainSet(prompts, wanted(prompts, self.judge), base, erased, before, after, behind)


def _as_many(found: Sequence[Finding], count: int) -> list[Finding]:
    """`count` findings, in turn."""
    return [found[i % len(found)] for i in range(count)]


def examine(
    examiner: Examiner, concepts: Sequence[Concept], attacks: Sequence[Tried], budget: Budget
) -> Iterator[tuple[Progress, Row]]:
    """All rows for all concepts, with how far it is."""
    pairs = [(concept, tried) for concept in concepts for tried in attacks]
    for done, (concept, tried) in enumerate(pairs):
        for row in examiner.rows(concept, tried, budget):
            note = f"{row.kind} {row.erased.rate:.0%}"
            yield Progress(f"evaluating {concept.name}: attacks", done, len(pairs), note), row
