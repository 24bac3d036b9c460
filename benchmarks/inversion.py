"""Diverse Inversion of K embeddings in one batch against K textual inversions, one after the other.

`python -m benchmarks.inversion` on "bomb" and the images of its make_images step. All have the same bins, images, template and
acceptance. A textual inversion learns from every timestep, weighed as the model was trained. It takes all of its steps: 120 with
batches of 4, which find as many as ours, or a quarter of them. "Ours, one by one" differs from Diverse Inversion in the batch
alone. Goal: an accepted embedding takes at most a fifth of the time of a textual inversion of 120 steps.
`--separate 3` runs only three of the K, spread evenly over the bins, and scales their sums to all.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tasks import make_images
from tverase.bars import show
from tverase.concepts import evenly
from tverase.config import Params
from tverase.files import read_tensors
from tverase.inversion.diverse import WHOLE
from tverase.inversion.run import InversionRun
from tverase.inversion.sets import ROLES
from tverase.models.base import Meter
from tverase.models.folder import open_model
from tverase.registry import built

from . import say
from ._runs import WORK, inside, prepared

GOAL = 5.0
TEXTUAL: dict[str, Any] = {**WHOLE, "look": 0, "batch": 4, "steps": 120}


@dataclass(frozen=True)
class Cost:
    """What embeddings took, and how many draw the concept."""

    seconds: float
    evaluations: int
    tried: int
    accepted: int

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*(a + b for a, b in zip(asdict(self).values(), asdict(other).values(), strict=True)))

    def figures(self, of: int) -> dict[str, float | int | None]:
        """For each accepted embedding, and for all `of` if it is a part of them."""
        each = self.accepted or None
        return {
            **asdict(self),
            "seconds": round(self.seconds, 2),
            "seconds_for_all": round(self.seconds * of / self.tried, 2),
            "evaluations_for_all": round(self.evaluations * of / self.tried),
            "seconds_per_accepted": each and round(self.seconds / each, 2),
            "evaluations_per_accepted": each and round(self.evaluations / each, 1),
        }


def main() -> None:
    """Images, a warm-up, one batch, one by one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concept", default="bomb")
    parser.add_argument("--separate", type=int, metavar="N", help="run only N of the K separate ones")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    params = prepared([f"concepts={args.concept}", *args.overrides])
    search, latents = searching(params, WORK / "inversion" / params.name)
    bins = [bin_ for _ in ROLES for bin_ in params.invert.bins for _ in range(params.invert.per_bin)]
    chosen = evenly(range(len(bins)), min(len(bins), max(1, args.separate or len(bins))))
    warm = params.invert.model_copy(update={"steps": 1, "images": 1, "restarts": 0})
    timed(replace(search, settings=warm), bins[:1], latents)
    costs = {"together": timed(search, bins, latents)}
    print(line("in one batch", costs["together"]), flush=True)
    kinds = {
        "textual inversion": TEXTUAL,
        "textual inversion, 30 steps": {**TEXTUAL, "steps": 30},
        "ours, one by one": {},
    }
    for kind, changed in kinds.items():
        settings = params.invert.model_copy(update=changed)
        costs[kind] = Cost(0.0, 0, 0, 0)
        for i in chosen:
            one = replace(search, settings=settings, seed=params.seed + 1 + i)
            costs[kind] += timed(one, [bins[i]], latents)
            print(line(kind, costs[kind]), flush=True)
    rows = {kind: cost.figures(len(bins)) for kind, cost in costs.items()}
    value = {kind: ratio(rows, kind, "seconds_per_accepted") for kind in kinds}
    most = value["textual inversion"]
    ok, goal = most is not None and most >= GOAL, {"textual inversion": GOAL, "the others": "reported"}
    say("inversion", value, goal, ok=ok, concept=args.concept, embeddings=len(bins), settings=used(params), **rows)


def searching(params: Params, folder: Path) -> tuple[InversionRun, Tensor]:
    """The inversion of the one concept, and the latents (N, ...) of its images, made in `folder` if they are not there."""
    (concept,) = params.concept_list
    folder.mkdir(parents=True, exist_ok=True)
    with inside(folder):
        with show("make_images") as tell:
            make_images.STEP.execute(params, tell)
        images, _ = read_tensors(params.out / "images.safetensors")
    model = open_model(params.model, params.runtime.device).metered(Meter())
    judge = built("judge", params.judge_spec).open()
    latents = images[f"latents/{concept.slug}"].to(model.device)
    return InversionRun(model, concept, params.invert, judge, params.sampling, params.seed), latents


def timed(search: InversionRun, bins: Sequence[tuple[float, float]], latents: Tensor) -> Cost:
    """Search and acceptance of one embedding for each bin, in one batch."""
    begun = time.perf_counter()
    *_, last = search.rounds(torch.tensor(bins), latents)
    seconds, needed = time.perf_counter() - begun, search.settings.accept * search.settings.images
    accepted = sum(hits >= needed for hits in last.hits or ())
    return Cost(seconds, search.cost, len(bins), accepted)


def ratio(rows: dict[str, dict[str, float | int | None]], kind: str, key: str) -> float | None:
    """How many times more those of a kind take; None if one side found nothing."""
    one, other = rows[kind][key], rows["together"][key]
    return round(one / other, 2) if one is not None and other else None


def used(params: Params) -> dict[str, int]:
    """What the figures depend on."""
    invert = params.invert
    return {
        "steps": invert.steps, "batch": invert.batch, "images": invert.images, "restarts": invert.restarts,
        "chunk": invert.chunk, "tokens": invert.tokens, "threads": torch.get_num_threads(),
    }  # fmt: skip


def line(what: str, cost: Cost) -> str:
    """A cost for people."""
    return f"{what}: {cost.accepted} of {cost.tried} accepted, {cost.seconds:.1f} s, {cost.evaluations:,} evaluations"


if __name__ == "__main__":
    main()
