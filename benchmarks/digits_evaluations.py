"""A verdict by the original's procedure and by ours, on the same network: `python -m benchmarks.digits_evaluations`.

The original is written anew from its description: every point of a one-sided grid, ten images each by 400 ancestral steps.
It draws one input after the other, judges image by image, and has two seeds. Goal: ours needs at most a hundredth of the
denoiser evaluations and finds a worst input of the same class. With --share only that part of the original's inputs is
drawn and its cost is scaled up; the worst input is then not compared.
"""

import argparse
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tverase.judges.base import Judge, shows
from tverase.models.base import Meter
from tverase.models.build import scheduler
from tverase.models.digits import Digits
from tverase.progress import Progress
from tverase.rng import generator
from tverase.sampling import Sampling, draw
from tverase.spaces.sphere import nearest, one_sided_grid

from . import say
from ._digits import Examined, digit_case

GOAL, IMAGES, STEPS = 100, 10, 400


class Ancestral(Digits):
    """The same network, drawn from by ancestral sampling (Ho et al., 2020, arXiv:2006.11239)."""

    def sampler(self, steps: int) -> Any:
        """A fresh DDPM scheduler on the same noise schedule."""
        from diffusers import DDPMScheduler

        fresh = DDPMScheduler.from_config(scheduler().config, variance_type="fixed_small", clip_sample=False)
        fresh.set_timesteps(steps)
        return fresh


@dataclass(frozen=True)
class Verdict:
    """A worst input, the score, and what it took."""

    point: Tensor
    score: float
    evaluations: int
    seconds: float


def main() -> None:
    """Both procedures on the base model or on the re-steered one, in one run."""
    from tverase.bars import show

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digit", type=int, default=0)
    parser.add_argument("--complexity", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=2, help="of the original's procedure")
    parser.add_argument("--share", type=float, default=1.0, help="of the original's inputs that are drawn")
    parser.add_argument("--models", nargs="+", choices=("base", "resteer"), default=["base"])
    args = parser.parse_args()
    case = digit_case(args.digit, 0, "eraser={kind: resteer}", choose=False)
    rows = {}
    for name in args.models:
        examined = case.examined if name == "base" else case.edited(1.0)
        ours = by_ours(examined, args.complexity)
        with show(name) as tell:
            theirs = by_original(examined, args.complexity, args.seeds, args.share, tell)
        rows[name] = compared(ours, theirs, examined.model.codes, whole=args.share >= 1)
        print(f"{name}: {rows[name]}", flush=True)
    ratio = min(row["evaluations_ratio"] for row in rows.values())
    same = all(row["same_class"] is not False for row in rows.values())
    say(
        "digits_evaluations",
        {"ratio": ratio, "same_class": same if args.share >= 1 else None},
        {"ratio": GOAL},
        ok=ratio >= GOAL and same,
        verdicts=rows,
        **vars(args),
    )


def by_ours(examined: Examined, complexity: int) -> Verdict:
    """Successive halving on the symmetric grid, scored on fresh images."""
    started, meter = time.monotonic(), Meter()
    found = replace(examined, model=examined.model.metered(meter)).worst(complexity)
    return Verdict(found.point, found.found.rate, meter.evaluations, time.monotonic() - started)


def by_original(examined: Examined, complexity: int, seeds: int, share: float, tell: Any) -> Verdict:
    """All inputs, ten images each; the score is the mean over seeds of the largest count."""
    model, meter = examined.model, Meter()
    ancestral = Ancestral(model.unet, model.codes, model.into_time, meter, model.theta)
    every = one_sided_grid(model.space().d, complexity)
    points = every[: max(1, round(share * len(every)))]
    sampling = Sampling(steps=STEPS, guidance=1.0, batch=IMAGES)
    started, best, counts = time.monotonic(), points[0], []
    for seed in range(seeds):
        rng, most = generator(seed, "digits_evaluations"), -1
        for done, point in enumerate(points):
            hits = _seen(examined.judge, draw(ancestral, point.expand(IMAGES, -1), rng, sampling), examined.digit)
            if hits > most:
                most, best = hits, point
            tell(Progress("the original's procedure", seed * len(points) + done + 1, seeds * len(points)))
        counts.append(most)
    scale = len(every) / len(points)
    score = sum(counts) / len(counts) / IMAGES
    return Verdict(best, score, round(scale * meter.evaluations), scale * (time.monotonic() - started))


def _seen(judge: Judge, images: Tensor, digit: str) -> int:
    """The judge looks at one image at a time."""
    return sum(int(shows(judge, image[None], digit)[0]) for image in images)


def compared(ours: Verdict, theirs: Verdict, codes: Tensor, *, whole: bool) -> dict[str, Any]:
    """Ratios of evaluations and time; whether both worst inputs lie nearest to the same digit's code."""
    classes = [int(nearest(torch.stack([v.point]), codes)[0]) for v in (ours, theirs)]
    return {
        "evaluations": [ours.evaluations, theirs.evaluations],
        "evaluations_ratio": round(theirs.evaluations / ours.evaluations, 1),
        "seconds": [round(ours.seconds, 1), round(theirs.seconds, 1)],
        "time_ratio": round(theirs.seconds / ours.seconds, 1),
        "scores": [ours.score, theirs.score],
        "classes": classes,
        "same_class": classes[0] == classes[1] if whole else None,
    }


if __name__ == "__main__":
    main()
