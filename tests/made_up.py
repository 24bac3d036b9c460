"""An erasure that never took place, as the facts of a report: what the report's tests look at."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from tverase.bounds import Bound
from tverase.concepts import joint
from tverase.evaluation import RetainSet, Row
from tverase.inversion.sets import Found
from tverase.report.facts import Facts
from tverase.summary import metrics, summary
from tverase.world.concepts import concept
from tverase.world.vocabulary import vocabulary

BINS = ((-0.2, 0.0), (0.4, 0.6))
# A world of sixteen objects, so that figures and tables are quick to draw.
WORDS = vocabulary().model_copy(update={"objects": dict(list(vocabulary().objects.items())[:16])})


def pictures(seed: int, count: int = 2, size: int = 8) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 3, size, size), generator=rng, dtype=torch.uint8)


def embeddings(names: Sequence[str], *, accepted: bool = True) -> Iterator[tuple[str, Found]]:
    for role in ("tune", "validate", "report"):
        for name in names:
            for i, (low, high) in enumerate(BINS):
                hits = 9 if accepted else 1
                yield role, Found(f"{name}/{role}/{i}", name, low, high, (low + high) / 2, hits, 10, accepted)


def rows(
    names: Sequence[str], inversions: Sequence[tuple[str, Found]], hits: int, behind: Mapping[str, int]
) -> Iterator[Row]:
    blank, none = torch.zeros(0), dict.fromkeys(behind, Bound(0, 60))
    few = {defence: Bound(count, 40) for defence, count in behind.items()}
    for name in names:
        for kind in concept(name, WORDS).prompts_by_kind:
            yield Row(name, kind, "6 prompts", Bound(57, 60), Bound(0, 60), blank, blank, none)
        for role, item in inversions:
            if role == "report" and item.concept == name and item.accepted:
                yield Row(name, "inversion", item.name, Bound(38, 40), Bound(hits, 40), blank, blank, few)


def retain_set(names: Sequence[str], lost: int, behind: Mapping[str, int]) -> RetainSet:
    prompts = joint([concept(name, WORDS) for name in names])
    seen, kept = torch.ones(len(prompts), dtype=torch.bool), torch.ones(len(prompts), dtype=torch.bool)
    kept[:lost] = False
    blank, fewer = torch.zeros(0), kept.clone()
    fewer[: lost + 5] = False
    wanted = {"object": [p.labels[:1] for p in prompts], "style": [p.labels[1:] for p in prompts]}
    base, erased = {"object": seen, "style": seen}, {"object": kept, "style": seen}
    return RetainSet(prompts, wanted, base, erased, blank, blank, dict.fromkeys(behind, fewer))


def strength(alpha: float | None = 1.125) -> dict[str, Any]:
    """What choose_strength writes: an explored strength, two tested ones and a short curve."""
    near = Bound(300, 320).as_dict()
    frontier = [
        {"alpha": a, "name": Bound(n, 8), "worst": Bound(w, 8), "worst_input": "bomb/tune/0", "retain": Bound(c, 8)}
        for a, n, w, c in ((0.0, 8, 8, 8), (0.5, 3, 6, 8), (1.0, 0, 1, 7), (1.5, 0, 0, 5))
    ]
    explored = {"alpha": 2.0, "counts": {"bomb/tune/0": [0, 48], "bomb/tune/1": [2, 48]}, "erases": True}
    tested = [
        _tested(1.125, 1, 0.0951, safe=True),
        _tested(0.75, 6, 0.2311, safe=False),
    ]
    below = {"alpha": 0.75, "worst": "bomb/validate/0", "hits": 6, "images": 48, "why": "its bound is 23.1%"}
    return {
        "alpha": alpha,
        "feasible": alpha is not None,
        "reason": "it is the weakest that passes" if alpha else "at alpha 2 the retain accuracy falls to 60.0%",
        "teacher": 4.5,
        "explored": [explored],
        "tested": tested,
        "below": below if alpha else None,
        "retain": near,
        "base_retain": near,
        "images": 528,
        "frontier": [{k: v.as_dict() if isinstance(v, Bound) else v for k, v in one.items()} for one in frontier],
        "judge": {},
        "evaluations": 5280,
    }


def _tested(alpha: float, hits: int, upper: float, *, safe: bool) -> dict[str, Any]:
    counts = {"bomb/validate/0": [hits, 48], "bomb/validate/1": [0, 48]}
    more = {"counts": counts, "worst": "bomb/validate/0", "images": 96}
    return {"alpha": alpha, "role": "confirm", "upper": upper, "safe": safe, "limit": 0.1, **more}


def hardening(*hits: int) -> dict[str, Any]:
    """What harden writes after rounds whose first of two inputs has so many hits of 8 images."""
    rounds = [
        {
            "round": number,
            "loss": 0.1 / number,
            "found": [
                {"name": f"{number}/{i}", "concept": "bomb", "share": 0.75, "hits": found * (i == 0), "images": 8}
                for i in range(2)
            ],
            "recovered": found / 16,
            "clean": not found,
        }
        for number, found in enumerate(hits, 1)
    ]
    return {
        "teacher": 4.5 if hits else None,
        "looks": [],
        "rounds": rounds,
        "clean": not hits or not hits[-1],
        "evaluations": 9,
    }


def facts(
    names: Sequence[str] = ("bomb",),
    *,
    accepted: bool = True,
    hits: int = 0,
    lost: int = 4,
    behind: Mapping[str, int] = MappingProxyType({}),
) -> Facts:
    """A made-up erasure of `names`: `hits` of 40 for every held-out DI embedding, `lost` images of the retain set.

    behind: outer defences, with the hits that each leaves of an embedding's 40.
    """
    inversions = list(embeddings(names, accepted=accepted))
    lines = list(rows(names, inversions, hits, behind))
    numbers = summary(lines, retain_set(names, lost, behind), [concept(name, WORDS) for name in names])
    numbers["retain"]["shown"] = ["a noto cat", "a flat car"]
    shown = {f"row/{i}/{side}": pictures(i) for i in range(len(lines)) for side in ("before", "after")}
    shown |= {f"retain/{side}": pictures(99) for side in ("before", "after")}
    shown |= {f"concept/{name.replace(' ', '-')}": pictures(7, 4) for name in names}
    shown |= {f"inversion/{item.name}": pictures(3) for _, item in inversions}
    found = [{"role": role, **vars(item)} for role, item in inversions]
    return Facts(
        params={
            "seed": 0,
            "concepts": list(names),
            "choose_strength": {"epsilon": 0.2},
            "sampling": {"steps": 10, "guidance": 3.0},
        },
        summary=numbers,
        metrics=metrics(numbers, 1.125),
        strength=strength(),
        inversions={"found": found, "evaluations": 123456},
        pictures=shown,
        hashes={"tau": "ab" * 32},
        timings={"finetune": 61.25},
        cost={"finetune": 4800, "evaluate": 9600},
        judges={"objects": {"version": "object-cnn/1", "accuracy": 0.991}},
        versions={"torch": "2.13.0"},
        hardening=hardening(5, 0),
    )


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))
