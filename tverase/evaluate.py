"""Base and erased model side by side, on inputs, seeds and images that tuned nothing; summary.py says what came out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .attacks.concept_inversion import ConceptInversion, concept_inversion
from .bounds import Bound
from .concepts import Concept, Prompt, control_halves, evenly, spread
from .inversion.sets import InversionSet
from .judges.base import met, shows
from .models.base import Model, repeated
from .progress import Progress
from .rng import generator
from .sampling import Sampling, draw, draw_latents
from .spaces.base import InputSpace
from .trial import Jury, right
from .vector import mixed
from .world.vocabulary import Vocabulary

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
    """Everything else: for each unrelated prompt's object and style, whether each model still draws it."""

    prompts: tuple[Prompt, ...]
    base_thing: Tensor  # bool (N,): the object is seen
    base_style: Tensor
    erased_thing: Tensor
    erased_style: Tensor
    before: Tensor
    after: Tensor
    behind: Mapping[str, Tensor] = field(default_factory=dict)  # bool (N,): both seen, behind each outer defence


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
    jury: Jury
    words: Vocabulary
    sampling: Sampling
    seed: int
    shown: int
    behind: Mapping[str, Model] = field(default_factory=dict)

    def row(self, concept: Concept, rung: str, name: str, cond: Tensor) -> Row:
        """Each row of `cond` (B, T, D) drawn once by every model."""
        purpose = f"evaluate/{concept.name}/{rung}/{name}"
        images = [draw(m, cond, generator(self.seed, purpose), self.sampling) for m in (self.base, self.erased)]
        judge = self.jury.of(concept.kind)
        seen = [shows(judge, drawn, concept.name) for drawn in images]
        behind = {name: self._seen_by(model, concept, cond, purpose) for name, model in self.behind.items()}
        return self._row(concept, rung, name, images, seen, behind)

    def _seen_by(self, model: Model, concept: Concept, cond: Tensor, purpose: str) -> Tensor:
        """Which of the images that `model` draws show the concept, bool (B,); the images are not kept."""
        images = draw(model, cond, generator(self.seed, purpose), self.sampling)
        return shows(self.jury.of(concept.kind), images, concept.name)

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

        score, judge = f"{purpose}/score", self.jury.of(concept.kind)
        conds = [learned(model) for model in (self.base, self.erased)]
        drawn = [
            draw(model, cond, generator(self.seed, score), self.sampling)
            for model, cond in zip((self.base, self.erased), conds, strict=True)
        ]
        seen = [shows(judge, images, concept.name) for images in drawn]
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
        """`images` images of objects and styles that have nothing to do with the concepts, by prompts that tuned nothing."""
        _, scoring = control_halves(list(concepts), self.words)
        prompts = spread(scoring, images, generator(self.seed, "evaluate/prompts"))
        cond = self.base.encode([p.text for p in prompts])
        purpose = "evaluate/control"
        before = draw(self.base, cond, generator(self.seed, purpose), self.sampling)
        after = draw(self.erased, cond, generator(self.seed, purpose), self.sampling)
        behind = {
            name: right(draw(model, cond, generator(self.seed, purpose), self.sampling), prompts, self.jury)
            for name, model in self.behind.items()
        }
        return Control(prompts, *self._seen(before, prompts), *self._seen(after, prompts), before, after, behind)

    def _seen(self, images: Tensor, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        """Whether the judges see each prompt's object, and whether they see its style: bool (N,) each."""
        things, styles = [p.thing for p in prompts], [p.style for p in prompts]
        return met(self.jury.thing, images, things), met(self.jury.style, images, styles)


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
