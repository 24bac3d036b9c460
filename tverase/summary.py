"""The final table in numbers: every rate with its exact interval, losses in pairs, and the few that are shown everywhere."""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from .bounds import Bound, paired_difference, worst
from .concepts import Concept
from .evaluation import RetainSet, Row
from .retention import AGREEMENT


def summary(rows: Sequence[Row], retain_set: RetainSet, concepts: Sequence[Concept]) -> dict[str, Any]:
    """The numbers of the report. Every rate has its exact interval; the worst embedding's bound holds for all at once."""
    return {
        "concepts": [c.name for c in concepts],
        "rows": [
            {
                "concept": r.concept,
                "kind": r.kind,
                "input": r.input,
                "base": r.base.as_dict(),
                "erased": r.erased.as_dict(),
                "adaptive": r.adaptive,
            }
            for r in rows
        ],
        "worst": {c.name: _worst(rows, c) for c in concepts},
        "retain": {
            "all": _pair(retain_set.base_all, retain_set.erased_all),
            "axes": {axis: _axis(retain_set, axis) for axis in retain_set.wanted},
            "how": how(retain_set.wanted),
            "neighbours": sorted({n for c in concepts for n in c.neighbours} - {c.label for c in concepts}),
        },
        **({"defences": [_behind(rows, retain_set, name) for name in retain_set.behind]} if retain_set.behind else {}),
    }


def _behind(rows: Sequence[Row], retain_set: RetainSet, defence: str) -> dict[str, Any]:
    """The erased model behind a defence, beside the same without: apart from the rest, because whoever has the weights drops it."""
    pair = _pair(retain_set.erased_all, retain_set.behind[defence])
    return {
        "defence": defence,
        "rows": [
            {"concept": r.concept, "kind": r.kind, "input": r.input, "behind": r.behind[defence].as_dict()}
            for r in rows
        ],
        "retain": {"erased": pair.pop("base"), "behind": pair.pop("erased"), **pair},
    }


def _worst(rows: Sequence[Row], concept: Concept) -> dict[str, Any]:
    found = {r.input: r.erased for r in rows if r.kind == "inversion" and r.concept == concept.name}
    if not found:
        return {"input": None, "note": "no embedding was found that draws the concept"}
    name, bound, high = worst(found)
    return {"input": name, **bound.as_dict(), "all_inputs_high": round(high, 4), "inputs": len(found)}


def _pair(base: Tensor, erased: Tensor) -> dict[str, Any]:
    """Both rates, and the loss with its paired score interval."""
    lost, won = int((base & ~erased).sum()), int((~base & erased).sum())
    count = len(base)
    low, high = paired_difference(lost, won, count)
    return {
        "base": Bound(int(base.sum()), count).as_dict(),
        "erased": Bound(int(erased.sum()), count).as_dict(),
        "loss": round((lost - won) / count, 4),
        "loss_low": round(low, 4),
        "loss_high": round(high, 4),
    }


def how(axes: Collection[str]) -> str:
    """How the retain set was counted: `recognition` by the judge, `agreement` with the base model's images, or `both`."""
    if AGREEMENT not in axes:
        return "recognition"
    return "agreement" if len(axes) == 1 else "both"


def _axis(retain_set: RetainSet, axis: str) -> dict[str, Any]:
    """The pair of an axis, and of each label of it that prompts ask for."""
    wanted, base, erased = retain_set.wanted[axis], retain_set.base[axis], retain_set.erased[axis]
    found = {}
    for label in dict.fromkeys(label for labels in wanted for label in labels):
        mine = torch.tensor([label in labels for labels in wanted])
        found[label] = _pair(base[mine], erased[mine])
    return {"total": _pair(base, erased), "by_label": found}


def metrics(summary: dict[str, Any], alpha: float) -> dict[str, Any]:
    """The few numbers that `dvc metrics` and MLflow show."""
    rows = summary["rows"]
    recovery = {}
    for kind in dict.fromkeys(r["kind"] for r in rows):
        mine = [r["erased"] for r in rows if r["kind"] == kind]
        recovery[kind] = round(sum(m["successes"] for m in mine) / sum(m["trials"] for m in mine), 4)
    worsts = [w for w in summary["worst"].values() if w["input"] is not None]
    searched = dict.fromkeys(r["kind"] for r in rows if r["adaptive"])
    worst_of = {kind: max(r["erased"]["rate"] for r in rows if r["kind"] == kind) for kind in searched}
    retain = summary["retain"]
    return {
        "alpha": alpha,
        "recovery": recovery,
        "worst_inversion": max((w["rate"] for w in worsts), default=None),
        "worst_inversion_high": max((w["all_inputs_high"] for w in worsts), default=None),
        **{f"worst_{kind}": rate for kind, rate in worst_of.items()},
        "retain": {
            "base": retain["all"]["base"]["rate"],
            "erased": retain["all"]["erased"]["rate"],
            "loss": retain["all"]["loss"],
            "loss_low": retain["all"]["loss_low"],
            "loss_high": retain["all"]["loss_high"],
        },
        **({"defences": {d["defence"]: _few(d) for d in summary["defences"]}} if "defences" in summary else {}),
    }


def _few(behind: dict[str, Any]) -> dict[str, float]:
    return {"worst": max(r["behind"]["rate"] for r in behind["rows"]), "loss": behind["retain"]["loss"]}
