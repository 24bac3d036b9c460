"""The strength that is chosen with Diverse Inversion, against the true worst input: `python -m benchmarks.digits_strength`.

For each digit, for the plain vector and for the hardened one: the strength chosen with codes in bins of angle, the worst
input of the whole grid at that strength on fresh images, and what the other nine digits lose, beside the paper's strengths.
Goals, for the hardened one: at most 10%, at most 5 points.
"""

import argparse
from typing import Any

from . import say
from ._digits import DigitCase, Examined, digit_case

WORST, LOSS, OTHERS = 0.1, 0.05, 100
PAPER_ALPHAS = (1.1, 1.3, 1.5, 1.7, 1.9, 2.1)  # of the plain vector
VECTORS = {"plain": ("harden.max_rounds=0",), "hardened": ()}  # the last is what ships


def main() -> None:
    """A line for each digit and strength."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--paper", type=float, nargs="*", default=[1.1, 2.1], help=f"of {PAPER_ALPHAS}")
    parser.add_argument("--complexity", type=int, default=4)
    args = parser.parse_args()
    rows = []
    for digit in args.digits:
        cases = {name: digit_case(digit, 0, *how, choose=True) for name, how in VECTORS.items()}
        rows.append(row(cases, digit, args.paper, args.complexity))
        print(line(rows[-1]), flush=True)
    value = {method: over_digits([r["chosen"][method] for r in rows]) for method in VECTORS}
    ours = value["hardened"]
    ok = ours["infeasible"] == 0 and ours["worst"] <= WORST and ours["loss"] <= LOSS
    say("digits_strength", value, {"worst": WORST, "loss": LOSS}, ok=ok, digits=rows)


def over_digits(chosen: list[dict[str, Any] | None]) -> dict[str, Any]:
    """The worst digit and the mean of all that have a strength."""
    found = [entry for entry in chosen if entry is not None]
    sides = {"worst": [entry["worst"]["rate"] for entry in found], "loss": [entry["loss"] for entry in found]}
    return {
        "infeasible": len(chosen) - len(found),
        **{key: max(values, default=None) for key, values in sides.items()},
        **{f"mean_{key}": round(sum(values) / max(1, len(values)), 4) for key, values in sides.items()},
    }


def row(cases: dict[str, DigitCase], digit: int, paper: list[float], complexity: int) -> dict[str, Any]:
    """What was chosen for each vector, and what is true at its strength; the plain one at the paper's strengths too."""
    base = cases["plain"].examined.others(OTHERS)

    def at(method: str, strength: float) -> dict[str, Any]:
        return truth(cases[method].edited(strength), complexity, base.rate) | {"alpha": strength}

    def chosen(method: str) -> dict[str, Any] | None:
        alpha, tested = cases[method].chosen, cases[method].strength["tested"]
        return (
            None
            if alpha is None
            else at(method, alpha) | {"promised": max(t["upper"] for t in tested if t["alpha"] == alpha)}
        )

    return {
        "digit": digit,
        "chosen": {method: chosen(method) for method in VECTORS},
        "reason": {method: cases[method].strength["reason"] for method in VECTORS},
        "paper": [at("plain", strength) for strength in paper],
        "base": base.as_dict(),
    }


def truth(examined: Examined, complexity: int, base: float) -> dict[str, Any]:
    """The worst input of the grid on fresh images, and the loss of the others in shares."""
    others, found = examined.others(OTHERS), examined.worst(complexity).found
    return {"worst": found.as_dict(), "others": others.as_dict(), "loss": round(base - others.rate, 4)}


def line(row: dict[str, Any]) -> str:
    """A row for people."""
    parts = [(f"{method}, chosen", entry) for method, entry in row["chosen"].items() if entry is not None]
    parts += [("paper's", entry) for entry in row["paper"]]
    none = "".join(f"; {m}: {row['reason'][m]}" for m, entry in row["chosen"].items() if entry is None)
    text = "; ".join(
        f"{what} alpha {e['alpha']:g}: worst {e['worst']['rate']:.0%} (to {e['worst']['high']:.0%}), "
        f"others lose {100 * e['loss']:.1f} points"
        for what, e in parts
    )
    return f"digit {row['digit']}: {text}{none}"


if __name__ == "__main__":
    main()
