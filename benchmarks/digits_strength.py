"""The strength that Diverse Inversion picks, against the true worst input: `python -m benchmarks.digits_strength`.

For each digit: the strength found with codes in bins of angle, the worst input of the whole grid at that strength on
fresh images, and what the other nine digits lose, beside the paper's strengths. Goals: at most 10%, at most 5 points.
"""

import argparse
from typing import Any

from tverase.complexity import Halving
from tverase.digitrun import PAPER_ALPHAS
from tverase.unconditional import Examined, together

from . import say
from ._digits import DigitCase, digit_case

WORST, LOSS, OTHERS = 0.1, 0.05, 100


def main() -> None:
    """A line for each digit and strength."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--paper", type=float, nargs="*", default=[1.1, 2.1], help=f"of {PAPER_ALPHAS['random']}")
    parser.add_argument("--complexity", type=int, default=4)
    args = parser.parse_args()
    rows = []
    for digit in args.digits:
        case = digit_case(digit, 0, ("random",), search=True)
        rows.append(row(case, digit, args.paper, args.complexity))
        print(line(rows[-1]), flush=True)
    picked = [r for r in rows if r["picked"] is not None]
    value = {
        "worst": max((r["picked"]["worst"]["rate"] for r in picked), default=None),
        "loss": max((r["picked"]["loss"] for r in picked), default=None),
        "mean_worst": round(sum(r["picked"]["worst"]["rate"] for r in picked) / max(1, len(picked)), 4),
        "mean_loss": round(sum(r["picked"]["loss"] for r in picked) / max(1, len(picked)), 4),
    }
    ok = len(picked) == len(rows) and value["worst"] <= WORST and value["loss"] <= LOSS
    say("digits_strength", value, {"worst": WORST, "loss": LOSS}, ok=ok, digits=rows)


def row(case: DigitCase, digit: int, paper: list[float], complexity: int) -> dict[str, Any]:
    """What the search said, and what is true at its strength and at the paper's."""
    halving = case.params.digits.unconditional.halving
    base = together(list(case.examined.others(OTHERS).values()))
    alpha, curve = case.picked("random"), case.strength["random"]
    tested = [t for t in curve["tested"] if t["alpha"] == alpha and t["role"] == "validate"]

    def at(strength: float) -> dict[str, Any]:
        return truth(case.edited("random", strength), halving, complexity, base.rate) | {"alpha": strength}

    return {
        "digit": digit,
        "picked": None if alpha is None else {**at(alpha), "promised": tested[-1]["upper"] if tested else None},
        "reason": curve["reason"],
        "paper": [at(strength) for strength in paper],
        "base": base.as_dict(),
    }


def truth(examined: Examined, halving: Halving, complexity: int, base: float) -> dict[str, Any]:
    """The worst input of the grid on fresh images, and the loss of the others in shares."""
    others = together(list(examined.others(OTHERS).values()))
    found = examined.at_complexity(complexity, halving).found
    return {"worst": found.as_dict(), "others": others.as_dict(), "loss": round(base - others.rate, 4)}


def line(row: dict[str, Any]) -> str:
    """A row for people."""
    parts = [] if row["picked"] is None else [("picked", row["picked"])]
    parts += [("paper's", entry) for entry in row["paper"]]
    text = "; ".join(
        f"{what} alpha {e['alpha']:g}: worst {e['worst']['rate']:.0%} (to {e['worst']['high']:.0%}), "
        f"others lose {100 * e['loss']:.1f} points"
        for what, e in parts
    )
    return f"digit {row['digit']}: {text}" + ("" if row["picked"] else f" ({row['reason']})")


if __name__ == "__main__":
    main()
