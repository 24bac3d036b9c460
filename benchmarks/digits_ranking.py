"""Base > input-dependent > task vector, by the worst input at complexity 4: `python -m benchmarks.digits_ranking`.

The strength of the task vector is what Diverse Inversion picks for that digit with seed 0; each seed then has its own
fine-tuning, re-steering and noise. Goal: the intervals over all digits and seeds together do not overlap.
"""

import argparse
import itertools

from tverase.bounds import Bound
from tverase.unconditional import together

from . import say
from ._digits import DigitCase, digit_case

VECTOR, METHODS = ("random",), ("random", "resteer")
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
        alpha = digit_case(digit, 0, VECTOR, search=True).picked("random")  # as benchmarks.digits_strength has it
        if alpha is None:
            skipped.append(digit)
            print(f"digit {digit}: no strength erases it", flush=True)
            continue
        for seed in args.seeds:
            case = digit_case(digit, seed, METHODS, search=False)
            for name, bound in worst_of(case, alpha, args.complexity).items():
                found[name].append(bound)
            rates = ", ".join(f"{name} {bounds[-1].rate:.0%}" for name, bounds in found.items())
            print(f"digit {digit} seed {seed}, alpha {alpha:g}: {rates}", flush=True)
    totals = {name: together(bounds) for name, bounds in found.items()}
    ok = not skipped and all(totals[a].low > totals[b].high for a, b in itertools.pairwise(ORDER))
    value = {name: total.as_dict() for name, total in totals.items()}
    say("digits_ranking", value, "base > resteer > random, intervals apart", ok=ok, skipped=skipped, **vars(args))


def worst_of(case: DigitCase, alpha: float, complexity: int) -> dict[str, Bound]:
    """The worst input of the three models on fresh images."""
    halving = case.params.digits.unconditional.halving
    models = {"base": case.examined, "resteer": case.edited("resteer", 1.0), "random": case.edited("random", alpha)}
    return {name: models[name].at_complexity(complexity, halving).found for name in ORDER}


if __name__ == "__main__":
    main()
