"""Repairs side by side, by what brings a concept back at parts of the strength that was repaired: `python -m benchmarks.repairs`.

For whoever chooses an option of `repair`: nothing of what scores is used. Each repair is attacked with words that are learned
against half, three quarters and the whole of it, all of them are tried at five eighths and more, beside the control that
tunes. The first repair makes what the others share, so that only the options differ.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks.repair import REPAIRED_AT
from tverase.adaptive import learner
from tverase.attacks.concept_inversion import ConceptInversion
from tverase.bounds import Bound
from tverase.config import Params
from tverase.files import read_tensors
from tverase.inversion.sets import InversionSet
from tverase.models.folder import open_model
from tverase.trial import Inputs, ModelTrial
from tverase.vector import TaskVector

from . import say
from ._runs import WORK, inside, shipped_judge, steps_until

SHARES, CONTROLS = (0.5, 0.75, 1.0), 320


@dataclass(frozen=True)
class Probed:
    """A repair at one strength: images with the concept for each word, by the share it was learned against."""

    alpha: float
    images: int
    hits: dict[float, list[int]]
    control: Bound

    def as_dict(self) -> dict[str, Any]:
        """For the line of JSON."""
        return {"alpha": self.alpha, "images": self.images, "hits": self.hits, "control": self.control.as_dict()}

    def line(self) -> str:
        """For people."""
        words = "; ".join(f"{share:g}: {' '.join(map(str, found))}" for share, found in self.hits.items())
        return f"  at {self.alpha:g}, of {self.images} images each, by share: {words}; control {self.control.rate:.1%}"


def main() -> None:
    """A few lines for each repair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concept", default="bomb")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=48, help="of each word at each strength")
    parser.add_argument(
        "--words", type=int, default=6, help="learned against each of half, three quarters and the whole"
    )
    parser.add_argument(
        "--at",
        type=float,
        nargs="+",
        default=[0.625, 0.75, 0.875, 1.0],
        help="shares of the repaired strength; `--` ends them",
    )
    parser.add_argument(
        "repairs", nargs="*", default=[""], metavar="KEY=VALUE[;KEY=VALUE...]", help="as in params.yaml"
    )
    args = parser.parse_args()
    rows: dict[str, list[Probed]] = {}
    first: Path | None = None
    for given in args.repairs:
        name = given or "default"
        folder = WORK / "repairs" / f"{args.concept}-{args.seed}-{name}".translate(str.maketrans(" ;", "__"))
        overrides = [f"concepts=[{args.concept}]", f"seed={args.seed}", *filter(None, given.split(";"))]
        params = steps_until(folder, overrides, "repair", first)
        first = first or folder
        rows[name] = []
        print(f"{name}:", flush=True)
        for probed in probe(folder, params, args.at, args.words, args.images):
            print(probed.line(), flush=True)
            rows[name].append(probed)
    found = {name: [probed.as_dict() for probed in probes] for name, probes in rows.items()}
    say("repairs", found, "reported", ok=True, concept=args.concept, seed=args.seed)


def probe(folder: Path, params: Params, parts: list[float], words: int, images: int) -> Iterator[Probed]:
    """The repair that `folder` holds, at parts of its strength."""
    with inside(folder):
        model = open_model(params.model, params.runtime.device)
        vector = TaskVector.load(params.out / "repaired.safetensors")
        if REPAIRED_AT not in vector.about:
            print("  not repaired: no steps were asked for, or no strength of the edit erases", flush=True)
            return
        sets = {"tune": InversionSet.load(params.out / "inversions" / "tune.safetensors")}
        tensors, _ = read_tensors(params.out / "images.safetensors")
    latents = {c.name: tensors[f"latents/{c.slug}"].to(model.device) for c in params.concept_list}
    inputs = Inputs.of(model, params.concept_list, sets, params.invert)
    how = inputs, params.concept_list, shipped_judge(), params.sampling, params.seed
    trial = replace(ModelTrial.of(model, vector, *how), purpose="benchmarks/repairs")
    whole = float(vector.about[REPAIRED_AT])
    attack = ConceptInversion(words=words * len(SHARES))
    names = learner(trial, params.concept_list, latents, attack, params.invert, SHARES)(whole, 0)
    learned = {share: names[place * words : (place + 1) * words] for place, share in enumerate(SHARES)}
    for part in parts:
        hits = {share: trial.recovery(part * whole, mine, images) for share, mine in learned.items()}
        yield Probed(part * whole, images, hits, trial.control(part * whole, CONTROLS))


if __name__ == "__main__":
    main()
