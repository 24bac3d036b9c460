"""Outer defences, apart from the edit: what each adds to an erased model, and what it costs: `python -m benchmarks.defences`.

Needs outputs/<concept> of a finished `make erase`. Words and whole prompts are learned against the erased model without a
defence, so these are attackers who do not know of it; whoever does can learn through all of them but the nearest state.
Known prompts are those of everything else that tune.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tasks._main import quiet
from tverase.attacks.concept_inversion import ConceptInversion, concept_inversion
from tverase.bounds import Bound
from tverase.concepts import Concept, concept, control_halves, spread
from tverase.config import Params
from tverase.defences import Defence, Defended, Nearest, Rounded, Smoothed
from tverase.inversion.run import space_of
from tverase.inversion.sets import InversionSet
from tverase.judges.base import shows
from tverase.models.base import Model, in_turn
from tverase.models.folder import open_model
from tverase.models.text2image import TextToImage
from tverase.rng import generator
from tverase.sampling import draw, draw_latents
from tverase.spaces.states import StateSpace
from tverase.trial import right
from tverase.world.vocabulary import vocabulary

from . import say
from ._runs import shipped_jury

WORDS = vocabulary()


def main() -> None:
    """A line for each defence."""
    quiet()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concept", default="bomb")
    parser.add_argument("--images", type=int, default=60, help="of each kind of input")
    parser.add_argument("--controls", type=int, default=160)
    args = parser.parse_args()
    params, wanted = Params.load(Path("params.yaml")), concept(args.concept, WORDS)
    base, out = open_model("models/emoji-sd"), Path("outputs") / wanted.slug
    erased = open_model(out / "erased")
    jury = shipped_jury()
    tuning, scoring = control_halves([wanted], WORDS)
    prompts = spread(scoring, args.controls, generator(0, "defences/prompts"))
    known = base.encode([prompt.text for prompt in tuning])
    inputs = inputs_of(base, erased, wanted, InversionSet.load(out / "inversions" / "report.safetensors"), params)
    defences: dict[str, Defence | None] = {
        "none": None,
        **{f"rounded to {levels}": Rounded.of(known, levels) for levels in (4, 8)},
        **{f"smoothed by {share:g}": Smoothed(known, share) for share in (0.2, 0.4)},
        "nearest known": Nearest(known),
    }
    rows = {}
    for name, defence in defences.items():
        model: Model = erased if defence is None else Defended(erased, defence)
        recovery = {}
        for kind, cond in inputs.items():
            images = draw(model, in_turn(cond, args.images), generator(0, f"defences/{kind}"), params.sampling)
            seen = shows(jury.of(wanted.kind), images, wanted.name)
            recovery[kind] = Bound(int(seen.sum()), args.images).as_dict()
        cond = model.encode([prompt.text for prompt in prompts])
        kept = right(draw(model, cond, generator(0, "defences/control"), params.sampling), prompts, jury)
        rows[name] = {"recovery": recovery, "control": Bound(int(kept.sum()), len(kept)).as_dict()}
        print(f"{name}: {line(rows[name])}", flush=True)
    value = {name: {"control": row["control"]["rate"], **rates(row)} for name, row in rows.items()}
    say("defences", value, "reported", ok=True, concept=args.concept, rows=rows)


def inputs_of(
    base: TextToImage, erased: TextToImage, wanted: Concept, found: InversionSet, params: Params
) -> dict[str, Tensor]:
    """Conditionings (M, T, D) by kind: names, held-back embeddings, words and whole prompts that attack the erased model."""
    space = space_of(base, wanted, params.invert)
    inputs = {"name": base.encode(wanted.names), "inversion": space.cond(found.accepted().points).detach()}
    owned = in_turn(base.encode(wanted.names), ConceptInversion().images)
    latents = draw_latents(base, owned, generator(0, "defences/owned"), params.sampling)
    for kind, where in (("attack", space), ("states", StateSpace(base, wanted.template))):
        rng = generator(0, f"defences/{kind}")
        *_, last = concept_inversion(erased, where, wanted.noun, latents, ConceptInversion(), rng)
        with torch.no_grad():
            inputs[kind] = where.cond(last.points)
    return inputs


def rates(row: Mapping[str, Any]) -> dict[str, float]:
    """The recovery by kind."""
    return {kind: bound["rate"] for kind, bound in row["recovery"].items()}


def line(row: Mapping[str, Any]) -> str:
    """A row for people."""
    back = ", ".join(f"{kind} {rate:.0%}" for kind, rate in rates(row).items())
    return f"{back}; everything else {row['control']['rate']:.1%}"


if __name__ == "__main__":
    main()
