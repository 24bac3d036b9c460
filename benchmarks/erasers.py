"""Every eraser once, with its defaults: `python -m benchmarks.erasers --erasers salun esd-x`.

A line for each eraser and strength: CPU seconds of one thread, denoiser evaluations, recovery by the concept's names and by its
synonyms, and the retain accuracy on the half of the retain set that no eraser learns from. No attack is run: `tverase bench`
does that. An eraser is here to say what it costs, and whether it erases what it was shown.
"""

import argparse
import time
from typing import Any

import torch

from tasks._main import quiet
from tverase.api import prepare
from tverase.bounds import Bound
from tverase.concepts import halves, spread
from tverase.config import Params
from tverase.context import Context
from tverase.erasers.base import Material, erased
from tverase.errors import TveraseError
from tverase.judges.base import shows
from tverase.models.base import Model, in_turn
from tverase.models.folder import open_model
from tverase.registry import built, entries
from tverase.retention import kept
from tverase.rng import generator
from tverase.sampling import draw
from tverase.steps.drawing import make_images

from . import say

NAMED = 0.1  # recovery by the names up to which an eraser has erased them
VECTORS = ("task-vector", "task-vector-weighted", "tak", "linearised", "tau-jp")  # strength 1 is rarely enough
STRENGTHS = (1.0, 2.0, 4.0)  # of these


def main() -> None:
    """The value has the recovery by the names, the least over the strengths, for each eraser."""
    quiet()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concept", default="bomb")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--erasers", nargs="+", default=sorted(entries("eraser")))
    parser.add_argument("--images", type=int, default=48, help="of the names, and of the retain set twice as many")
    args = parser.parse_args()
    torch.set_num_threads(1)
    params = Params.parse({"seed": args.seed, "concepts": [args.concept]})
    context = prepare(open_model(params.model), args.concept, params)
    images = make_images(context, params.make_images)
    retain = images.retain(context)
    material = Material(context.model, context.concepts, images.forget(context), *retain, args.seed)
    rows = [{"eraser": "none", **scored(context, context.model, args.images)}]
    print(rows[0], flush=True)
    for name in args.erasers:
        for row in measured(context, material, name, args.images):
            rows.append(row)
            print(row, flush=True)
    found = {
        name: [row["names"]["rate"] for row in rows if row["eraser"] == name and "names" in row]
        for name in args.erasers
    }
    value = {name: min(rates, default=None) for name, rates in found.items()}
    ok = all(rate is not None and rate <= NAMED for rate in value.values())
    say("erasers", value, {"names": NAMED}, ok=ok, rows=rows)


def measured(context: Context, material: Material, name: str, images: int) -> list[dict[str, Any]]:
    """A row for each strength, or one that says what failed."""
    meter, begun, before = context.model.meter, time.process_time(), context.model.meter.evaluations
    try:
        found = built("eraser", name).run(material)
    except TveraseError as error:
        return [{"eraser": name, "failed": str(error)}]
    cost = {"seconds": round(time.process_time() - begun, 1), "evaluations": meter.evaluations - before}
    return [
        {"eraser": name, "alpha": alpha, **cost, **scored(context, erased(context.model, found, alpha), images)}
        for alpha in (STRENGTHS if name in VECTORS else (1.0,))
    ]


def scored(context: Context, model: Model, images: int) -> dict[str, Any]:
    """Recovery by names and synonyms, and retain accuracy. All models draw from the same noise."""
    (concept,), judge, rows = context.concepts, context.judge, dict[str, Any]()
    for kind, prompts in {"names": concept.names, "synonyms": concept.synonyms}.items():
        if prompts:
            cond = in_turn(model.encode(prompts), images)
            drawn = draw(model, cond, generator(context.seed, f"benchmarks/erasers/{kind}"), context.sampling)
            rows[kind] = Bound(int(shows(judge, drawn, concept.label).sum()), images).as_dict()
    rng = generator(context.seed, "benchmarks/erasers/retain")
    which = spread(halves(context.concepts)[1], 2 * images, rng)
    drawn = draw(model, model.encode([prompt.text for prompt in which]), rng, context.sampling)
    rows["retain"] = Bound(int(kept(drawn, which, judge, None).sum()), len(which)).as_dict()
    return rows


if __name__ == "__main__":
    main()
