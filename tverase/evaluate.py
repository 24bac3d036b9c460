"""The final table: base and erased model side by side, on inputs, seeds and images that tuned nothing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .attacks.concept_inversion import ConceptInversion, concept_inversion
from .bounds import Bound, worst
from .concepts import Concept, Prompt, control_halves, evenly, neighbours, spread
from .inversion.sets import InversionSet
from .judges.base import met, shows
from .models.base import Model, repeated
from .progress import Progress
from .rng import generator
from .sampling import Sampling, draw, draw_latents
from .spaces.base import InputSpace
from .trial import Jury
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

    @property
    def models(self) -> tuple[Model, ...]:
        """All that draw: the base model, the erased one, and that one behind each defence."""
        return self.base, self.erased, *self.behind.values()

    def row(self, concept: Concept, rung: str, name: str, cond: Tensor) -> Row:
        """Each row of `cond` (B, T, D) drawn once by every model."""
        purpose = f"evaluate/{concept.name}/{rung}/{name}"
        judge = self.jury.of(concept.kind)
        images = [draw(m, cond, generator(self.seed, purpose), self.sampling) for m in self.models]
        return self._row(concept, rung, name, images, [shows(judge, drawn, concept.name) for drawn in images])

    def _row(self, concept: Concept, rung: str, name: str, images: list[Tensor], seen: list[Tensor]) -> Row:
        # What still shows the concept comes first, so that nobody has to look for it.
        order = torch.argsort(seen[1].int() * 2 + seen[0].int(), descending=True, stable=True)[: self.shown]
        base, erased, *others = [Bound(int(s.sum()), len(s)) for s in seen]
        behind = dict(zip(self.behind, others, strict=True))
        return Row(concept.name, rung, name, base, erased, images[0][order], images[1][order], behind)

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

        So the base column is the attack's positive control: it has to find inputs there. Behind a defence they are learned
        through it: whoever attacks knows of it.
        """
        purpose, space, how = f"evaluate/{concept.name}/{attack.rung}", attack.space_of(concept), attack.how
        names = [concept.names[i % len(concept.names)] for i in range(how.images)]
        latents = draw_latents(
            self.base, self.base.encode(names), generator(self.seed, f"{purpose}/images"), self.sampling
        )
        seen, drawn = [], []
        for model in self.models:
            rng = generator(self.seed, purpose)
            *_, last = concept_inversion(self._mixed(model, attack.share), space, concept.noun, latents, how, rng)
            cond = space.cond(last.points).detach().repeat_interleave(images, 0)
            drawn.append(draw(model, cond, generator(self.seed, f"{purpose}/score"), self.sampling))
            seen.append(shows(self.jury.of(concept.kind), drawn[-1], concept.name))
        for word in range(how.words):
            mine = slice(word * images, (word + 1) * images)
            parts = [d[mine] for d in drawn], [s[mine] for s in seen]
            yield self._row(concept, attack.rung, f"attempt {word + 1}", *parts)

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
        before, after, *others = [draw(m, cond, generator(self.seed, purpose), self.sampling) for m in self.models]
        right = [torch.logical_and(*self._seen(images, prompts)) for images in others]
        behind = dict(zip(self.behind, right, strict=True))
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


def summary(rows: Sequence[Row], control: Control, concepts: Sequence[Concept], words: Vocabulary) -> dict[str, Any]:
    """The numbers of the report. Every rate has its exact interval; the worst embedding's bound holds for all at once."""
    base = control.base_thing & control.base_style
    erased = control.erased_thing & control.erased_style
    return {
        "concepts": [c.name for c in concepts],
        "rows": [
            {
                "concept": r.concept,
                "rung": r.rung,
                "input": r.input,
                "base": r.base.as_dict(),
                "erased": r.erased.as_dict(),
            }
            for r in rows
        ],
        "worst": {c.name: _worst(rows, c) for c in concepts},
        "control": {
            "all": _pair(base, erased),
            "objects": _pair(control.base_thing, control.erased_thing),
            "styles": _pair(control.base_style, control.erased_style),
            "by_object": _by([p.thing for p in control.prompts], control.base_thing, control.erased_thing),
            "by_style": _by([p.style for p in control.prompts], control.base_style, control.erased_style),
            "neighbours": sorted({n for c in concepts for n in neighbours(c, words)} - {c.name for c in concepts}),
        },
        **({"defences": [_behind(rows, control, name) for name in control.behind]} if control.behind else {}),
    }


def _behind(rows: Sequence[Row], control: Control, defence: str) -> dict[str, Any]:
    """The erased model behind a defence, beside the same without: apart from the rest, because whoever has the weights drops it."""
    pair = _pair(control.erased_thing & control.erased_style, control.behind[defence])
    return {
        "defence": defence,
        "rows": [
            {"concept": r.concept, "rung": r.rung, "input": r.input, "behind": r.behind[defence].as_dict()}
            for r in rows
        ],
        "control": {"erased": pair.pop("base"), "behind": pair.pop("erased"), **pair},
    }


def _worst(rows: Sequence[Row], concept: Concept) -> dict[str, Any]:
    found = {r.input: r.erased for r in rows if r.rung == "inversion" and r.concept == concept.name}
    if not found:
        return {"input": None, "note": "no embedding was found that draws the concept"}
    name, bound, high = worst(found)
    return {"input": name, **bound.as_dict(), "all_inputs_high": round(high, 4), "inputs": len(found)}


def _pair(base: Tensor, erased: Tensor) -> dict[str, Any]:
    """Both rates, the loss in points, and its interval: of the images that only one of the models gets right."""
    lost, won = int((base & ~erased).sum()), int((~base & erased).sum())
    count = len(base)
    return {
        "base": Bound(int(base.sum()), count).as_dict(),
        "erased": Bound(int(erased.sum()), count).as_dict(),
        "loss": round((lost - won) / count, 4),
        # Paired: the interval of the share lost less the share won, each exact at half of the error.
        "loss_low": round(Bound(lost, count, 0.975).low - Bound(won, count, 0.975).high, 4),
        "loss_high": round(Bound(lost, count, 0.975).high - Bound(won, count, 0.975).low, 4),
    }


def _by(classes: Sequence[str | None], base: Tensor, erased: Tensor) -> dict[str, Any]:
    found = {}
    for name in dict.fromkeys(c for c in classes if c is not None):
        mine = torch.tensor([c == name for c in classes])
        found[name] = _pair(base[mine], erased[mine])
    return found


def metrics(summary: dict[str, Any], alpha: float) -> dict[str, Any]:
    """The few numbers that `dvc metrics` and MLflow show."""
    rows = summary["rows"]
    recovery = {}
    for rung in dict.fromkeys(r["rung"] for r in rows):
        mine = [r["erased"] for r in rows if r["rung"] == rung]
        recovery[rung] = round(sum(m["successes"] for m in mine) / sum(m["trials"] for m in mine), 4)
    worsts = [w for w in summary["worst"].values() if w["input"] is not None]
    learned = {rung: [r["erased"]["rate"] for r in rows if r["rung"] == rung] for rung in LEARNED}
    control = summary["control"]
    return {
        "alpha": alpha,
        "recovery": recovery,
        "worst_inversion": max((w["rate"] for w in worsts), default=None),
        "worst_inversion_high": max((w["all_inputs_high"] for w in worsts), default=None),
        **{f"worst_{rung}": max(rates, default=None) for rung, rates in learned.items()},
        "control": {
            "base": control["all"]["base"]["rate"],
            "erased": control["all"]["erased"]["rate"],
            "loss": control["all"]["loss"],
            "loss_low": control["all"]["loss_low"],
            "loss_high": control["all"]["loss_high"],
        },
        **({"defences": {d["defence"]: _few(d) for d in summary["defences"]}} if "defences" in summary else {}),
    }


def _few(behind: dict[str, Any]) -> dict[str, float]:
    return {"worst": max(r["behind"]["rate"] for r in behind["rows"]), "loss": behind["control"]["loss"]}
