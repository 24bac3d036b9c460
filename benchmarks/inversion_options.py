"""What each setting of Diverse Inversion is worth: `python -m benchmarks.inversion_options`.

All options have the same images, bins and noise of each concept and seed. Seeds 2 and 3 tune. Each option has four figures:

- embeddings that draw the concept on fresh images, with the exact interval over all concepts and seeds;
- empty bins;
- the mean cosine of each accepted embedding to its nearest, across the concept's own embedding;
- denoiser evaluations for each accepted embedding.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tverase.bounds import Bound
from tverase.inversion.diverse import WHOLE
from tverase.inversion.run import InversionRun
from tverase.inversion.sets import ROLES
from tverase.spaces import cone

from . import say
from ._runs import WORK, prepared
from .inversion import searching

OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "hinge 0": {"hinge": 0.0},
    "hinge 1": {"hinge": 1.0},
    "alike 0": {"alike": 0.0},
    "restarts 1": {"restarts": 1},
    "per_bin 2": {"per_bin": 2},
    "look 0": {"look": 0},
    "steps 30": {"steps": 30},
    "steps 120": {"steps": 120},
    "batch 4": {"batch": 4},
    "every timestep": WHOLE,
    "tokens 2": {"tokens": 2},
}


@dataclass(frozen=True)
class Found:
    """What an option found, of one concept and seed or of several."""

    accepted: int = 0
    tried: int = 0
    empty: int = 0  # bins without any
    bins: int = 0
    evaluations: int = 0
    nearest: tuple[float, ...] = ()

    def __add__(self, other: "Found") -> "Found":
        return Found(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def figures(self) -> dict[str, Any]:
        """With the interval, and the cost of each accepted one."""
        each = round(self.evaluations / self.accepted) if self.accepted else None
        alike = round(sum(self.nearest) / len(self.nearest), 3) if self.nearest else None
        bound = Bound(self.accepted, self.tried).as_dict()
        return {**bound, "empty": self.empty, "bins": self.bins, "alike": alike, "evaluations_per_accepted": each}


def main() -> None:
    """A line for each option; the value is the share accepted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concepts", nargs="+", default=["bomb", "skull"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--only", nargs="+", choices=list(OPTIONS), default=list(OPTIONS))
    args = parser.parse_args()
    total = dict.fromkeys(args.only, Found())
    for name in args.concepts:
        for seed in args.seeds:
            params = prepared([f"concepts={name}", f"seed={seed}"])
            search, latents = searching(params, WORK / "inversion" / f"{params.name}-{seed}")
            for option in args.only:
                settings = params.invert.model_copy(update=OPTIONS[option])
                total[option] += found(replace(search, settings=settings), latents)
                print(f"{name} {seed} {option}: {total[option].figures()}", flush=True)
    rows = {option: result.figures() for option, result in total.items()}
    value = {option: row["rate"] for option, row in rows.items()}
    say("inversion_options", value, "reported", ok=True, rows=rows, **vars(args))


def found(search: InversionRun, latents: Tensor) -> Found:
    """Search and acceptance of all three sets in one batch."""
    how = search.settings
    bins = [bin_ for _ in ROLES for bin_ in how.bins for _ in range(how.per_bin)]
    *_, last = search.rounds(torch.tensor(bins), latents)
    draws = [hits >= how.accept * how.images for hits in last.hits or ()]
    met = {bin_ for bin_, drawn in zip(bins, draws, strict=True) if drawn}
    near = nearest(last.points[torch.tensor(draws)], search.space.anchor(search.concept.noun))
    return Found(sum(draws), len(bins), len(how.bins) - len(met), len(how.bins), search.cost, tuple(near))


def nearest(points: Tensor, anchor: Tensor) -> Sequence[float]:
    """Of each point (K, E) the cosine to the one that is most alike, of what points away from the anchor."""
    if len(points) < 2:
        return ()
    across = cone.sideways(points, anchor)
    closest: list[float] = (across @ across.T).fill_diagonal_(-1).amax(1).tolist()
    return closest


if __name__ == "__main__":
    main()
