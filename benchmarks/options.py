"""The options of the vector side by side at equal safety: what everything else loses. `python -m benchmarks.options`.

Images of the concept, inversions and, where the option lets them, fine-tunes are shared, so that only the option differs. Recommended is, of the
options that meet the goals of `benchmarks.erasure`, with learned words as well, the one that loses least; `ok` says whether it is
the default.
"""

import argparse
from pathlib import Path
from typing import Any

import yaml

from . import say
from ._runs import WORK, try_steps
from .erasure import LEARNED, PLAIN, WORST, figures, line

PLAIN_VECTOR = {"build_vector.subtract_control": "0", "select.how": "all", "repair.steps": "0"}
BLOCKS = {**PLAIN_VECTOR, "select.how": "blocks"}
OPTIONS: dict[str, dict[str, str]] = {
    "repaired": {**PLAIN_VECTOR, "repair.steps": "300"},
    "repaired, from the edited model on": {**PLAIN_VECTOR, "repair.steps": "300", "repair.start": "1"},
    "plain": PLAIN_VECTOR,
    "control-subtracted": {**PLAIN_VECTOR, "build_vector.subtract_control": "1"},
    "half control-subtracted": {**PLAIN_VECTOR, "build_vector.subtract_control": "0.5"},
    **{layers: {**BLOCKS, "select.layers": layers} for layers in ("attention", "mid+up", "down", "resnets")},
    **{how: {**PLAIN_VECTOR, "select.how": how} for how in ("profile", "search")},
    "attention, repaired": {**BLOCKS, "select.layers": "attention", "repair.steps": "300"},
    "mid+up, repaired": {**BLOCKS, "select.layers": "mid+up", "repair.steps": "300"},
    "profile, repaired": {**PLAIN_VECTOR, "select.how": "profile", "repair.steps": "300"},
    # To be held against "plain".
    "magnitude 20%": {**PLAIN_VECTOR, "build_vector.prune": "magnitude", "build_vector.keep": "0.2"},
    "dare 50%": {**PLAIN_VECTOR, "build_vector.prune": "dare", "build_vector.keep": "0.5"},
    "l1": {**PLAIN_VECTOR, "finetune.l1": "0.2"},
    "decay": {**PLAIN_VECTOR, "finetune.weight_decay": "100"},
    "dropout": {**PLAIN_VECTOR, "finetune.dropout": "0.1"},
    "agreement of 4": {**PLAIN_VECTOR, "finetune.copies": "4", "finetune.control": "false"},
    "mean of 4": {**PLAIN_VECTOR, "finetune.copies": "4", "finetune.control": "false", "build_vector.merge": "mean"},
}


# Every option needs the control's fine-tune, so that one fine-tuning serves them all; no curve is drawn.
SHARED = ["finetune.control=true", "search_strength.frontier=[]", "search_strength.delta=1"]


def main() -> None:
    """One run an option and seed; the first makes what the others share."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--concept", default="bomb")
    parser.add_argument("--only", nargs="+", choices=list(OPTIONS), default=list(OPTIONS))
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    rows = []
    for seed in args.seeds:
        first: Path | None = None
        for name in args.only:
            folder = WORK / "options" / f"{args.concept}-{seed}-{name}".replace(" ", "-")
            chosen = OPTIONS[name]
            given = [f"concepts={args.concept}", f"seed={seed}", *SHARED, *(f"{k}={v}" for k, v in chosen.items())]
            given += args.overrides
            run = try_steps(folder, given, first)
            first = first or folder
            row = {"option": name, "seed": seed, "failed": run} if isinstance(run, str) else figures(run)
            rows.append({"option": name, "seed": seed, **row})
            print(f"{name}: {run if isinstance(run, str) else line(rows[-1])}", flush=True)
    losses = {
        name: [row["loss"]["loss"] for row in rows if row["option"] == name and erases(row)] for name in args.only
    }
    whole = {name: sum(found) / len(found) for name, found in losses.items() if len(found) == len(args.seeds)}
    best = min(whole, key=lambda name: whole[name]) if whole else None
    say("options", best, default(), ok=best == default(), concept=args.concept, loss=losses, runs=rows)


def erases(row: dict[str, Any]) -> bool:
    """Whether a run has an answer and meets both goals; a learned word is held to that of an embedding."""
    if "loss" not in row or not row["feasible"]:
        return False
    worst = max(row["worst"]["rate"], *(row[kind] or 0.0 for kind in LEARNED if kind != "states"))
    return bool(row["plain"]["rate"] <= PLAIN and worst <= WORST)


def default() -> str:
    """The option that params.yaml has."""
    written = yaml.safe_load(Path("params.yaml").read_text())
    for name, option in OPTIONS.items():
        place = [(written[key.split(".")[0]].get(key.split(".")[1]), value) for key, value in option.items()]
        if all(found == yaml.safe_load(value) for found, value in place):
            return name
    return "none of these"


if __name__ == "__main__":
    main()
