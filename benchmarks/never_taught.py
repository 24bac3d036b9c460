"""The attacks' negative control: what do they make of things the model never learned? `python -m benchmarks.never_taught`.

An attack that draws objects which were never trained paints them by itself. It says nothing about the rest of an erased concept.
The same attacks run against the base model, on renderings of known objects (positive) and of unknown ones (negative). A
judge for these is trained first, on renderings only, as the others were.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tasks._main import quiet
from tverase.attacks.concept_inversion import ConceptInversion, concept_inversion
from tverase.bars import show
from tverase.bounds import Bound
from tverase.judges.base import NONE, Judge, shows, verdicts
from tverase.judges.cnn import CnnJudge
from tverase.models.folder import open_model
from tverase.models.text2image import TextToImage
from tverase.pretrain.judges import Sample, measured, renderings, roughen, rubbish, train_net
from tverase.progress import Progress
from tverase.rng import generator
from tverase.sampling import Sampling, draw
from tverase.spaces.states import StateSpace
from tverase.world.scene import compose, sample_scenes
from tverase.world.sprites import Sprites, load_sprites
from tverase.world.vocabulary import vocabulary

from . import say
from ._digits import together

STRANGE = ("amphora", "boxing-glove", "ferris-wheel", "hammer", "joystick", "wrapped-gift")
KINDS = ("attack", "states")  # token embeddings, and encoder states of a whole prompt
TAUGHT = ("bomb", "skull", "cat", "pizza", "guitar", "key")
WORDS, GOAL = vocabulary(), 0.1


@dataclass(frozen=True)
class Thing:
    """An object to attack for: the words that give the attack its start, its sprites, and who recognises it."""

    name: str
    sprites: Tensor  # (styles, 4, 64, 64)
    judge: Judge
    taught: bool

    def images(self, count: int, purpose: str) -> Tensor:
        """Renderings in every style, size and place, (count, 3, 32, 32)."""
        rng = generator(0, f"never_taught/{purpose}/{self.name}")
        scenes = sample_scenes(count, WORDS, rng)
        return compose(self.sprites[scenes.style], scenes, WORDS, rng)


def main() -> None:
    """A line for each thing and attack, then taught and never taught together."""
    quiet()
    args = _arguments()
    sprites, model = load_sprites(Path("data/emoji")), open_model("models/emoji-sd")
    strange = [sprites.index["others"].index(name) for name in STRANGE]
    judge = strange_judge(sprites, strange, args.judge_steps)
    ours = CnnJudge.load(Path("models/judges/object.safetensors"))
    things = [Thing(name, sprites.objects[WORDS.names.index(name)], ours, True) for name in TAUGHT]
    things += [Thing(n, sprites.others[i], judge, False) for n, i in zip(STRANGE, strange, strict=True)]
    seen = {thing.name: recognised(model, thing) for thing in things}
    print("renderings after the autoencoder, recognised:", {n: f"{rate:.0%}" for n, rate in seen.items()}, flush=True)
    how = ConceptInversion(words=args.inputs, steps=args.steps)
    found: dict[str, dict[bool, list[Bound]]] = {kind: {True: [], False: []} for kind in KINDS}
    for thing in things:
        for kind in KINDS:
            bounds = attacked(model, thing, kind, how, args.images)
            found[kind][thing.taught] += bounds
            rates = ", ".join(f"{bound.rate:.0%}" for bound in bounds)
            print(f"{thing.name} ({'taught' if thing.taught else 'never taught'}), {kind}: {rates}", flush=True)
    value = {
        kind: {"taught": summed(sides[True]), "never_taught": summed(sides[False])} for kind, sides in found.items()
    }
    ok = all(sides["never_taught"]["rate"] <= GOAL for sides in value.values())
    goal = {"never_taught": GOAL, "why": "an attack that draws more than that paints by itself"}
    say("never_taught", value, goal, ok=ok, judge=judge.accuracy, recognised=seen, **vars(args))


def strange_judge(sprites: Sprites, strange: Sequence[int], steps: int, batch: int = 128) -> CnnJudge:
    """A judge of the never-taught objects; taught ones, other nameless ones and rubbish are its "none"."""
    rng = generator(0, "never_taught/judge")
    kept = torch.tensor([i for i in range(len(sprites.others)) if i not in strange])
    none = len(strange)

    def strangers(count: int) -> Sample:
        scenes, labels = sample_scenes(count, WORDS, rng), torch.randint(none, (count,), generator=rng)
        return Sample(compose(sprites.others[torch.tensor(strange)[labels], scenes.style], scenes, WORDS, rng), labels)

    def sample() -> Sample:
        scenes = sample_scenes(batch // 8, WORDS, rng)
        which = kept[torch.randint(len(kept), (batch // 8,), generator=rng)]
        known = strangers(batch // 2)
        parts = [
            known.images,
            renderings("object", batch // 4, sprites, WORDS, rng).images,
            compose(sprites.others[which, scenes.style], scenes, WORDS, rng),
            rubbish("object", batch // 8, sprites, WORDS, rng).images,
        ]
        labels = torch.cat([known.labels, torch.full((batch - batch // 2,), none)])
        return Sample(roughen(torch.cat(parts), rng), labels)

    with show("judge") as tell:
        for step, (loss, net) in enumerate(train_net(none + 1, sample, 0, steps), 1):  # noqa: B007 - the last net
            tell(Progress("training a judge of what was never taught", step, steps, f"loss {loss:.3f}"))
    return measured(net, "strange-cnn/1", (*STRANGE, NONE), strangers(2000))


@torch.no_grad()
def recognised(model: TextToImage, thing: Thing, count: int = 100) -> float:
    """How often the judge still knows the thing after the autoencoder, which no drawn image can do without."""
    decoded = model.to_images(model.to_latents(thing.images(count, "decoded")))
    return float((verdicts(thing.judge, decoded) == thing.judge.classes.index(thing.name)).float().mean())


def attacked(model: TextToImage, thing: Thing, kind: str, how: ConceptInversion, images: int) -> list[Bound]:
    """For each adversarial input, in how many of `images` images the thing is seen."""
    with torch.no_grad():
        latents = model.to_latents(thing.images(how.images, "owned"))
    space = model.space("a {}") if kind == KINDS[0] else StateSpace(model)
    noun = thing.name.replace("-", " ")
    *_, last = concept_inversion(model, space, noun, latents, how, generator(0, f"never_taught/{kind}/{noun}"))
    cond = space.cond(last.points).detach().repeat_interleave(images, 0)
    drawn = draw(model, cond, generator(0, f"never_taught/{kind}/{noun}/score"), Sampling())
    seen = shows(thing.judge, drawn, thing.name).view(how.words, images).sum(1)
    return [Bound(int(hits), images) for hits in seen]


def summed(bounds: Sequence[Bound]) -> dict[str, Any]:
    """All inputs in one, and the worst of them."""
    return {**together(bounds).as_dict(), "worst": max(b.rate for b in bounds)}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=4, help="adversarial, for each thing and attack")
    parser.add_argument("--images", type=int, default=20, help="drawn with each input")
    parser.add_argument("--steps", type=int, default=ConceptInversion().steps)
    parser.add_argument("--judge-steps", type=int, default=800)
    return parser.parse_args()


if __name__ == "__main__":
    main()
