"""Guards in front of an erased model, with their gain and their cost: `python -m benchmarks.defences`.

Evaluates the method's own run of the concept, from work/benchmarks/method, with `evaluate.defences`. Adversarial embeddings
are optimised without the guard and again through it, and the worse count is reported. Known prompts are the tuning half of the
retain set.
"""

import argparse
from collections.abc import Mapping
from typing import Any

from . import say
from ._runs import method_case, run_steps, steps_until

WHOLE_PROMPTS = "evaluate.attacks={states: {kind: concept-inversion, space: states, words: 4}}"
DEFENCES = ("rounded-4", "rounded-8", "smoothed-0.2", "smoothed-0.4", "nearest")


def main() -> None:
    """A line for each defence."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concept", default="bomb")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=60, help="of each kind, held-out embedding and adversarial input")
    parser.add_argument("--only", nargs="+", default=DEFENCES, metavar="DEFENCE")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    erased, given = method_case(args.concept, args.seed)
    steps_until(erased, [*given, *args.overrides], "erase")
    drawn = [f"evaluate.images={args.images}", f"evaluate.images_each={args.images}", WHOLE_PROMPTS]
    folder, _ = method_case(args.concept, args.seed, "defences")
    wanted = f"evaluate.defences=[{', '.join(args.only)}]"
    found = run_steps(folder, [*given, *drawn, wanted, *args.overrides], erased).evaluation
    value = {"none": {**worst(found["rows"], "erased"), "retain": found["retain"]["all"]["erased"]["rate"]}}
    for behind in found["defences"]:
        cost = behind["retain"]
        value[behind["defence"]] = {**worst(behind["rows"], "behind"), "retain": cost["behind"]["rate"]}
        value[behind["defence"]] |= {end: cost[end] for end in ("loss", "loss_low", "loss_high")}
    for name, row in value.items():
        print(f"{name}: {', '.join(f'{kind} {rate:.1%}' for kind, rate in row.items())}", flush=True)
    say("defences", value, "reported", ok=True, defences=found["defences"], **vars(args))


def worst(rows: list[Mapping[str, Any]], side: str) -> dict[str, float]:
    """Of each kind of input the one that draws the concept most often."""
    kinds = dict.fromkeys(row["kind"] for row in rows)
    return {kind: max(row[side]["rate"] for row in rows if row["kind"] == kind) for kind in kinds}


if __name__ == "__main__":
    main()
