"""Base > input-dependent > task vector, by the worst input at complexity 4: `python -m benchmarks.digits_ranking`.

Diverse Inversion chooses the strength of the task vector for each digit with seed 0. Each seed then has its own
fine-tuning, re-steering and noise. Goal: the intervals over all digits and seeds together do not overlap.
"""

import argparse
import itertools

from tverase.bounds import Bound

from . import say
from ._digits import digit_case, together

PLAIN, RESTEER = "harden.max_rounds=0", "eraser={kind: resteer}"
ORDER = ("base", "resteer", "random")


def main() -> None:
    """A line for each digit and seed, then the three models together."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits", type=int, nargs="+", default=[0, 1, 3, 5, 8])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--complexity", type=int, default=4)
    args = parser.parse_args()
    found: dict[str, list[Bound]] = {name: [] for name in ORDER}
    skipped = []
    for digit in args.digits:
        alpha = digit_case(digit, 0, PLAIN, choose=True).chosen  # as benchmarks.digits_strength has it
        if alpha is None:
            skipped.append(digit)
            print(f"digit {digit}: no strength erases it", flush=True)
            continue
        for seed in args.seeds:
            for name, bound in worst_of(digit, seed, alpha, args.complexity).items():
                found[name].append(bound)
            rates = ", ".join(f"{name} {bounds[-1].rate:.0%}" for name, bounds in found.items())
            print(f"digit {digit} seed {seed}, alpha {alpha:g}: {rates}", flush=True)
    totals = {name: together(bounds) for name, bounds in found.items()}
    ok = not skipped and all(totals[a].low > totals[b].high for a, b in itertools.pairwise(ORDER))
    value = {name: total.as_dict() for name, total in totals.items()}
    say("digits_ranking", value, "base > resteer > random, intervals apart", ok=ok, skipped=skipped, **vars(args))


def worst_of(digit: int, seed: int, alpha: float, complexity: int) -> dict[str, Bound]:
    """The worst input of the three models on fresh images."""
    plain, resteered = (digit_case(digit, seed, how, choose=False) for how in (PLAIN, RESTEER))
    models = {"base": plain.examined, "resteer": resteered.edited(1.0), "random": plain.edited(alpha)}
    return {name: models[name].worst(complexity).found for name in ORDER}


if __name__ == "__main__":
    main()
