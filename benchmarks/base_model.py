"""How well the embedded model draws: every (object, style), unseen pairs, synonyms. `python -m benchmarks.base_model`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from tasks._main import quiet
from tverase.bounds import Bound
from tverase.concepts import Prompt
from tverase.images import to_bytes
from tverase.judges.base import verdicts
from tverase.judges.cnn import CnnJudge
from tverase.models.folder import open_model
from tverase.models.text2image import TextToImage
from tverase.rng import generator
from tverase.sampling import Sampling, draw
from tverase.world.captions import phrase
from tverase.world.concepts import pairs as all_pairs
from tverase.world.vocabulary import vocabulary

from . import say

GOAL = 0.95


@dataclass(frozen=True)
class Look:
    """One model, drawn with, and both judges, who look at what it drew."""

    model: TextToImage
    judges: dict[str, CnnJudge]
    settings: Sampling

    def rates(self, name: str, prompts: Sequence[Prompt], picture: Path | None = None) -> dict[str, Bound]:
        """How often each judge sees what the prompts ask for, where all of them ask for something; also printed."""
        cond = self.model.encode([p.text for p in prompts])
        images = draw(self.model, cond, generator(0, f"benchmark/{name}"), self.settings)
        if picture:
            _sheet(images, picture)
        found = {}
        for kind, judge in self.judges.items():
            wanted = [label for p in prompts for label in p.labels if label in judge.classes]
            if len(wanted) == len(prompts):
                classes = torch.tensor([judge.classes.index(w) for w in wanted])
                found[kind] = Bound(int((verdicts(judge, images) == classes).sum()), len(prompts))
        print(
            name, {kind: f"{b.rate:.1%} ({b.low:.1%} to {b.high:.1%}, {b.trials} images)" for kind, b in found.items()}
        )
        return found


def main() -> None:
    """Draw, judge, print; the picture shows one image of each object."""
    quiet()
    args = _arguments()
    words = vocabulary()
    judges = {kind: CnnJudge.load(Path(f"models/judges/{kind}.safetensors")) for kind in ("object", "style")}
    look = Look(open_model(args.model), judges, Sampling(steps=args.steps, guidance=args.guidance))
    held = set(words.held_out_pairs)
    pairs = [p for p in all_pairs(words) for _ in range(args.each)]
    seen = look.rates("pairs", [p for p in pairs if p.labels not in held], args.picture)
    unseen = look.rates("held-out pairs", [p for p in pairs if p.labels in held for _ in range(10)])
    things = words.objects.items()
    look.rates("synonyms", [Prompt(phrase(w), (name,)) for name, t in things for w in t.words for _ in range(3)])
    held_words = [Prompt(phrase(t.held_out), (name,)) for name, t in things if t.held_out for _ in range(3)]
    strange = look.rates("held-out synonyms", held_words)
    value = {kind: round(bound.rate, 4) for kind, bound in seen.items()}
    more = {
        "held_out_pairs": {k: round(b.rate, 4) for k, b in unseen.items()},
        "held_out_synonyms": strange["object"].rate,
    }
    accuracy = {kind: judge.accuracy for kind, judge in judges.items()}
    say("base_model", value, GOAL, ok=min(value.values()) >= GOAL, judges=accuracy, **more)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=1, help="images of each (object, style)")
    parser.add_argument("--steps", type=int, default=Sampling().steps)
    parser.add_argument("--guidance", type=float, default=Sampling().guidance)
    parser.add_argument("--model", default="models/emoji-sd")
    parser.add_argument("--picture", type=Path, help="write a sheet of the images here")
    return parser.parse_args()


def _sheet(images: torch.Tensor, path: Path) -> None:
    """Twenty images a row, twice as large."""
    whole = to_bytes(images[: len(images) // 20 * 20]).view(-1, 20, 3, *images.shape[-2:])
    sheet = whole.permute(0, 3, 1, 4, 2).reshape(-1, 20 * images.shape[-1], 3)
    picture = Image.fromarray(sheet.numpy())
    picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.NEAREST).save(path)


if __name__ == "__main__":
    main()
