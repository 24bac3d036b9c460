"""What the search for alpha draws, against an even grid of the same precision: `python -m benchmarks.strength_search`.

The grid tests every alpha up to `search_strength.alpha_max` in steps of the resolution, with as many images of each input as
prove epsilon when all of them fail, and the same control images. Its images are counted and not drawn. Goal: at least
five times fewer. Runs stay in work/benchmarks/method, where `python -m benchmarks.method` finds them again.
"""

import argparse

from tverase.files import read_json

from . import say
from ._runs import method_case, steps_until

GOAL = 5


def main() -> None:
    """A line for each concept and seed; the value is the smallest ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concepts", nargs="+", default=["bomb", "skull"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    args = parser.parse_args()
    rows = []
    for names in args.concepts:
        for seed in args.seeds:
            folder, given = method_case(names, seed)
            params = steps_until(folder, given, "search_strength")
            found = read_json(folder / params.out / "strength.json")
            tested = [(step["alpha"], step["role"], step["safe"], step["images"]) for step in found["tested"]]
            ratio = round(found["even_grid"] / found["images"], 2) if found["safe_alpha"] is not None else None
            row = {"concepts": names, "seed": seed, "alpha": found["alpha"], "images": found["images"]}
            rows.append({**row, "even_grid": found["even_grid"], "ratio": ratio, "tested": tested})
            print(f"{names} seed {seed}: {rows[-1]}", flush=True)
    ratios = [row["ratio"] for row in rows if row["ratio"] is not None]
    worst = min(ratios, default=0)
    say("strength_search", worst, GOAL, ok=len(ratios) == len(rows) and worst >= GOAL, runs=rows)


if __name__ == "__main__":
    main()
