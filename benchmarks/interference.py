"""Do erased concepts disturb each other? `python -m benchmarks.interference`.

Each concept is erased by itself, with the parameters of params.yaml. Then all vectors, each at its own alpha, are subtracted
from the base model together. Last, the concepts are erased one after another.

For each concept and each of these models, the recovery rates of its names, held-out embeddings and adversarial embeddings
are counted. If one of them is higher than that of the model without this concept alone, erasing the others has brought it
back. The retain loss is beside it: there edits add up.
Runs stay in work/benchmarks/method, where `python -m benchmarks.method` finds them again.
"""

import argparse
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from torch import Tensor

from tasks._main import quiet
from tasks.erase import STEP as ERASE
from tverase.attacks.concept_inversion import concept_inversion
from tverase.bounds import Bound
from tverase.concepts import Concept, halves, spread
from tverase.config import Params
from tverase.inversion.run import space_of, words_of
from tverase.inversion.sets import InversionSet
from tverase.judges.base import Judge, shows
from tverase.models.base import Model, in_turn, repeated
from tverase.models.folder import open_model
from tverase.registry import built
from tverase.retention import kept
from tverase.rng import generator
from tverase.sampling import draw, draw_latents
from tverase.vector import TaskVector
from tverase.world.concepts import concept
from tverase.world.vocabulary import vocabulary

from . import say
from ._runs import method_case, shipped_judge, steps_until

AFTER = "without all, one after another"
MOST = 0.05  # by which a concept may come back through the others' erasure


@dataclass(frozen=True)
class Erased:
    """A concept, the vector that was applied for it (alpha and all), and its held-out embeddings."""

    concept: Concept
    change: TaskVector
    found: InversionSet


def main() -> None:
    """A line for each concept and model; the value is by how much the worst of them came back."""
    quiet()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concepts", nargs="+", default=["bomb", "skull"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    if len(set(args.concepts)) < 2:
        parser.error("interference needs at least two concepts")
    params = Params.load(Path("params.yaml"), args.overrides)
    erased = [erased_alone(name, args.seed, args.overrides) for name in args.concepts]
    base = open_model("models/emoji-sd", params.runtime.device)
    last = open_model(one_after_another(args.concepts, args.seed, args.overrides), params.runtime.device)
    look = Look(params, base, shipped_judge(), args.seed, args.images)
    rows = []
    for one in erased:
        others = [e for e in erased if e is not one]
        sums = {"without it": [one], "without the others": others, "without all": erased}
        models = {what: less(base, them) for what, them in sums.items()} | {AFTER: last}
        drawn = {what: look.recovery(model, one) for what, model in models.items()}
        rows.append({"concept": one.concept.name, "recovery": drawn, "more": more(drawn)})
        print(f"{one.concept.name}: {rows[-1]}", flush=True)
    everything = [e.concept for e in erased]
    kept = {"base": look.retain(base, everything), "without all": look.retain(less(base, erased), everything)}
    kept[AFTER] = look.retain(last, everything)
    kept |= {f"without {e.concept.name}": look.retain(less(base, [e]), everything) for e in erased}
    print("unrelated prompts:", kept, flush=True)
    value = max(row["more"] for row in rows)
    say("interference", value, MOST, ok=value <= MOST, rows=rows, retain=kept, **vars(args))


def erased_alone(name: str, seed: int, overrides: list[str]) -> Erased:
    """The concept's own run, up to the edited weights."""
    folder, given = method_case(name, seed)
    params = steps_until(folder, [*given, *overrides], "erase")
    tau = TaskVector.load(folder / params.out / "tau.safetensors")
    found = InversionSet.load(folder / params.out / "inversions" / "report.safetensors")
    return Erased(concept(name, vocabulary()), float(tau.about["alpha"]) * tau, found)


def one_after_another(names: list[str], seed: int, overrides: list[str]) -> Path:
    """The erased model of the last of the concepts: the base model of each is the erased one of the concept before it."""
    models: list[Path] = []
    for number, name in enumerate(names, start=1):
        _, given = method_case(name, seed)
        folder, _ = method_case("-then-".join(names[:number]), seed)
        before = [f"model={model.absolute()}" for model in models[-1:]]
        params = steps_until(folder, [*given, *overrides, *before], "erase")
        models.append(folder / ERASE.outputs(params)["erased"])
    return models[-1]


def less(base: Model, erased: list[Erased]) -> Model:
    """The base model less the sum of the edits."""
    total = reduce(add, (e.change for e in erased))
    return base.with_weights(total.apply(base.weights(), 1.0))


@dataclass(frozen=True)
class Look:
    """How every model is looked at: the same prompts, embeddings and noise."""

    params: Params
    base: Model
    judge: Judge
    seed: int
    images: int

    def recovery(self, model: Model, one: Erased) -> dict[str, Any]:
        """By name, by the worst held-out embedding, and by the worst adversarial embedding."""
        names = [one.concept.names[i % len(one.concept.names)] for i in range(self.images)]
        inputs = {"name": model.encode(names)}
        space, found = space_of(model, one.concept, self.params.invert), one.found.accepted()
        points = found.points.to(model.null.device)
        for item, point in zip(found.found, points, strict=True):
            inputs[item.name] = repeated(space.cond(point[None]), self.images)
        asked = {name: self.counted(model, one, name, cond) for name, cond in inputs.items()}
        words = {f"word {i}": repeated(cond[None], self.images) for i, cond in enumerate(self.attacked(model, one))}
        adversarial = {name: self.counted(model, one, name, cond) for name, cond in words.items()}
        return {"name": asked["name"].as_dict(), "worst": worst_of(asked), "word": worst_of(adversarial)}

    def counted(self, model: Model, one: Erased, name: str, cond: Tensor) -> Bound:
        """In how many images of its input the concept is seen."""
        rng = generator(self.seed, f"interference/{one.concept.name}/{name}")
        seen = shows(self.judge, draw(model, cond, rng, self.params.sampling), one.concept.label)
        return Bound(int(seen.sum()), self.images)

    def attacked(self, model: Model, one: Erased) -> Tensor:
        """Conditionings (K, T, D) of adversarial embeddings against the model, from images that the base model draws."""
        how, space = (
            built("attack", self.params.evaluate.attacks["attack"]),
            words_of(model, one.concept, self.params.invert),
        )
        rng, purpose = generator(self.seed, f"interference/{one.concept.name}/words"), "interference/images"
        owned = in_turn(self.base.encode(one.concept.names), how.images)
        latents = draw_latents(self.base, owned, generator(self.seed, purpose), self.params.sampling)
        *_, last = concept_inversion(model, space, one.concept.noun, latents, how, rng)
        return space.cond(last.points).detach()

    def retain(self, model: Model, concepts: list[Concept]) -> dict[str, Any]:
        """Prompts that have nothing to do with any of the concepts."""
        _, scoring = halves(concepts)
        prompts = spread(scoring, 4 * self.images, generator(self.seed, "interference/prompts"))
        cond, rng = model.encode([p.text for p in prompts]), generator(self.seed, "interference/control")
        return Bound(
            int(kept(draw(model, cond, rng, self.params.sampling), prompts, self.judge, None).sum()), len(prompts)
        ).as_dict()


def worst_of(counts: dict[str, Bound]) -> dict[str, Any]:
    """The input that draws its concept most often."""
    worst = max(counts, key=lambda name: counts[name].rate)
    return {"input": worst, **counts[worst].as_dict()}


def more(drawn: dict[str, dict[str, Any]]) -> float:
    """By how much a concept is drawn more often without all than without it alone, at the worst."""
    rates = {which: {what: drawn[which][what]["rate"] for what in ("name", "worst", "word")} for which in drawn}
    return max(
        rates[which][what] - rates["without it"][what] for which in ("without all", AFTER) for what in rates[which]
    )


if __name__ == "__main__":
    main()
