"""Base and erased model side by side, on inputs, seeds and images that tuned nothing; summary.py says what came out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .attacks.concept_inversion import ConceptInversion, concept_inversion
from .bounds import Bound
from .concepts import Concept, Prompt, evenly, halves, spread
from .inversion.sets import InversionSet
from .judges.base import Judge, shows
from .models.base import Model, repeated
from .progress import Progress
from .retention import by_axis, kept, thumbnails, wanted
from .rng import generator
from .sampling import Sampling, draw, draw_latents
from .spaces.base import InputSpace
from .vector import mixed

# Rungs whose inputs are learned against the model: words, words against a part of the edit, whole prompts.
LEARNED = ("attack", "weaker", "states")


@dataclass(frozen=True)
class Row:
    """One kind of input: how often it draws the concept in both models; a few of the images, the worst ones first."""

    concept: str
    rung: str
    input: str
    base: Bound
    erased: Bound
    before: Tensor  # (n, 3, H, W) in [-1, 1]
    after: Tensor  # the same inputs and the same noise
    behind: Mapping[str, Bound] = field(default_factory=dict)  # the erased model behind each outer defence


@dataclass(frozen=True)
class Control:
    """The retain set: for each prompt, what each model still draws of what it asks for, by axis of the judge.

    wanted: axis to the labels that each prompt asks for. base, erased: axis to bool (N,), True where a prompt asks for
    nothing of the axis. The axis `agreement` is of prompts without labels, compared with the base model's images.
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


SpaceOf = Callable[[Concept], InputSpace]


@dataclass(frozen=True)
class Attack:
    """What is learned against a model: its rung in the table, the space of its points, how hard it tries.

    share: of the edit, against which it is learned; whoever has both models can mix them, and a weaker edit still knows more
    of the concept.
    """

    rung: str
    space_of: SpaceOf
    how: ConceptInversion
    share: float = 1.0


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

    def row(self, concept: Concept, rung: str, name: str, cond: Tensor) -> Row:
        """Each row of `cond` (B, T, D) drawn once by every model."""
        purpose = f"evaluate/{concept.name}/{rung}/{name}"
        images = [draw(m, cond, generator(self.seed, purpose), self.sampling) for m in (self.base, self.erased)]
        seen = [shows(self.judge, drawn, concept.label) for drawn in images]
        behind = {name: self._seen_by(model, concept, cond, purpose) for name, model in self.behind.items()}
        return self._row(concept, rung, name, images, seen, behind)

    def _seen_by(self, model: Model, concept: Concept, cond: Tensor, purpose: str) -> Tensor:
        """Which of the images that `model` draws show the concept, bool (B,); the images are not kept."""
        images = draw(model, cond, generator(self.seed, purpose), self.sampling)
        return shows(self.judge, images, concept.label)

    def _row(
        self,
        concept: Concept,
        rung: str,
        name: str,
        images: list[Tensor],
        seen: list[Tensor],
        behind: Mapping[str, Tensor],
    ) -> Row:
        # What still shows the concept comes first, so that nobody has to look for it.
        order = torch.argsort(seen[1].int() * 2 + seen[0].int(), descending=True, stable=True)[: self.shown]
        base, erased, *others = [Bound(int(s.sum()), len(s)) for s in (*seen, *behind.values())]
        guarded = dict(zip(behind, others, strict=True))
        return Row(concept.name, rung, name, base, erased, images[0][order], images[1][order], guarded)

    def rungs(self, concept: Concept, images: int) -> Iterator[Row]:
        """Names, synonyms and compositions, `images` of each, spread evenly over the prompts."""
        for rung, prompts in concept.rungs.items():
            yield self.row(concept, rung, f"{len(prompts)} prompts", self.base.encode(evenly(prompts, images)))

    def embeddings(self, concept: Concept, space: InputSpace, found: InversionSet, images: int) -> Iterator[Row]:
        """One row for each held-back embedding that draws the concept in the base model."""
        for item, point in zip(found.found, found.points.to(self.base.null.device), strict=True):
            cond = repeated(space.cond(point[None]), images)
            yield self.row(concept, "inversion", item.name, cond)

    def attack(self, concept: Concept, attack: Attack, images: int) -> Iterator[Row]:
        """One row for each learned input: those learned against the base model on it, those against the erased on that.

        So the base column is the attack's positive control: it has to find inputs there. Behind a defence those learned
        against the erased model are tried, and others learned through it: whoever attacks may know of it. The worse counts.
        """
        purpose, space, how = f"evaluate/{concept.name}/{attack.rung}", attack.space_of(concept), attack.how
        names = [concept.names[i % len(concept.names)] for i in range(how.images)]
        latents = draw_latents(
            self.base, self.base.encode(names), generator(self.seed, f"{purpose}/images"), self.sampling
        )

        def learned(model: Model) -> Tensor:
            rng, attacked = generator(self.seed, purpose), self._mixed(model, attack.share)
            *_, last = concept_inversion(attacked, space, concept.noun, latents, how, rng)
            return space.cond(last.points).detach().repeat_interleave(images, 0)

        score = f"{purpose}/score"
        conds = [learned(model) for model in (self.base, self.erased)]
        drawn = [
            draw(model, cond, generator(self.seed, score), self.sampling)
            for model, cond in zip((self.base, self.erased), conds, strict=True)
        ]
        seen = [shows(self.judge, images, concept.label) for images in drawn]
        guarded = {
            name: [self._seen_by(model, concept, cond, score) for cond in (conds[1], learned(model))]
            for name, model in self.behind.items()
        }
        for word in range(how.words):
            mine = slice(word * images, (word + 1) * images)
            parts = [d[mine] for d in drawn], [s[mine] for s in seen]
            behind = {name: max((s[mine] for s in both), key=torch.sum) for name, both in guarded.items()}
            yield self._row(concept, attack.rung, f"attempt {word + 1}", *parts, behind)

    def _mixed(self, model: Model, share: float) -> Model:
        """The model with a share of the edit; the base model has none."""
        if share == 1 or model is self.base:
            return model
        return model.with_weights(mixed(self.base.weights(), self.erased.weights(), share))

    def control(self, concepts: Sequence[Concept], images: int) -> Control:
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
        return Control(prompts, wanted(prompts, self.judge), base, erased, before, after, behind)


def examine(
    examiner: Examiner,
    concepts: Sequence[Concept],
    found: InversionSet,
    space_of: SpaceOf,
    images: int,
    each: int,
    attacks: Sequence[Attack],
) -> Iterator[tuple[Progress, Row]]:
    """All rows for all concepts, with how far it is. space_of(concept) -> the space its embeddings live in."""
    tried = [attack for attack in attacks if attack.how.words]
    learned, done = sum(attack.how.words for attack in tried), 0
    total = sum(len(c.rungs) + len(found.accepted(c.name)) + learned for c in concepts)
    for concept in concepts:
        mine, space = found.accepted(concept.name), space_of(concept)
        for rows in (
            examiner.rungs(concept, images),
            examiner.embeddings(concept, space, mine, each),
            *(examiner.attack(concept, attack, each) for attack in tried),
        ):
            for row in rows:
                done += 1
                yield Progress(f"evaluating {concept.name}", done, total, f"{row.rung} {row.erased.rate:.0%}"), row
