"""Training of the judges, on renderings only: a judge never sees a generated image."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from ..judges.base import NONE
from ..judges.cnn import CnnJudge, JudgeNet
from ..world.scene import compose, render, sample_scenes
from ..world.sprites import Sprites
from ..world.vocabulary import Vocabulary

Kind = Literal["object", "style"]
HELD_BACK = 32  # of the nameless sprites, kept for the test of "none"
VERSION = 1


@dataclass(frozen=True)
class Sample:
    """Images (B, 3, 32, 32) in [-1, 1] and their classes (B,)."""

    images: Tensor
    labels: Tensor


def classes_of(kind: Kind, words: Vocabulary) -> tuple[str, ...]:
    """The judge's classes, `none` last."""
    return (*(words.names if kind == "object" else words.styles), NONE)


def renderings(kind: Kind, count: int, sprites: Sprites, words: Vocabulary, rng: torch.Generator) -> Sample:
    """Clean renderings of named objects, with the class that `kind` asks for."""
    scenes = sample_scenes(count, words, rng)
    labels = scenes.thing if kind == "object" else scenes.style
    return Sample(render(scenes, sprites, words, rng), labels)


def nameless(
    kind: Kind, count: int, sprites: Sprites, words: Vocabulary, rng: torch.Generator, *, test: bool = False
) -> Sample:
    """Renderings of objects that have no name here: `none` for the object judge, a true style for the other."""
    scenes = sample_scenes(count, words, rng)
    low, high = (0, HELD_BACK) if test else (HELD_BACK, len(sprites.others))
    which = torch.randint(low, high, (count,), generator=rng)
    images = compose(sprites.others[which, scenes.style], scenes, words, rng)
    none = len(words.names)
    return Sample(images, torch.full((count,), none) if kind == "object" else scenes.style)


def rubbish(kind: Kind, count: int, sprites: Sprites, words: Vocabulary, rng: torch.Generator) -> Sample:
    """What shows nothing, made from renderings."""
    part = -(-count // 5)
    images = spoil(renderings(kind, 4 * part, sprites, words, rng).images, part, rng)[:count]
    none = len(words.names if kind == "object" else words.styles)
    return Sample(images, torch.full((len(images),), none))


def spoil(images: Tensor, part: int, rng: torch.Generator) -> Tensor:
    """Noise, bare backgrounds, two images laid over each other, mush, shuffled tiles: `part` of each.

    images (4 * part, 3, side, side) in [-1, 1], the side a multiple of four -> (5 * part, 3, side, side).
    """
    side = images.shape[-1]
    pictures = torch.split(images, part)
    noise = torch.randn(part, 3, side, side, generator=rng) * torch.rand(part, 1, 1, 1, generator=rng) * 1.5
    bare = pictures[0][:, :, :1, :1].expand(-1, -1, side, side) + 0.03 * noise
    mixed = 0.5 * pictures[0] + 0.5 * pictures[1].flip(0)
    small = functional.avg_pool2d(pictures[2], side // 4)
    mush = functional.interpolate(small, size=side, mode="bicubic")
    tile = side // 4
    tiles = pictures[3].reshape(part, 3, 4, tile, 4, tile).permute(0, 2, 4, 1, 3, 5).reshape(part, 16, 3, tile, tile)
    shuffled = tiles[:, torch.randperm(16, generator=rng)].reshape(part, 4, 4, 3, tile, tile)
    tiled = shuffled.permute(0, 3, 1, 4, 2, 5).reshape(part, 3, side, side)
    return torch.cat([noise, bare, mixed, mush, tiled]).clamp(-1, 1)


def roughen(images: Tensor, rng: torch.Generator) -> Tensor:
    """Blur, noise, brightness and contrast, so that the judge forgives what a decoder does to an image."""
    count = len(images)

    def strength(top: float) -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=rng) * top

    blurred = functional.avg_pool2d(functional.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    images = torch.lerp(images, blurred, strength(0.9))
    images = images * (0.8 + strength(0.4)) + strength(0.2) - 0.1
    return images + torch.randn(images.shape, generator=rng) * strength(0.12)


def train_judge(
    kind: Kind, sprites: Sprites, words: Vocabulary, rng: torch.Generator, *, steps: int, batch: int = 128
) -> Iterator[tuple[float, JudgeNet]]:
    """Yields (loss, net) after each step; the last net is the judge's, in training mode."""

    def sample() -> Sample:
        parts = [
            renderings(kind, int(batch * 0.7), sprites, words, rng),
            nameless(kind, int(batch * 0.2), sprites, words, rng),
            rubbish(kind, int(batch * 0.1), sprites, words, rng),
        ]
        images = roughen(torch.cat([p.images for p in parts]), rng)
        return Sample(images, torch.cat([p.labels for p in parts]))

    yield from train_net(len(classes_of(kind, words)), sample, rng.initial_seed(), steps)


def train_net(classes: int, sample: Callable[[], Sample], seed: int, steps: int) -> Iterator[tuple[float, JudgeNet]]:
    """The training of any judge: (loss, net) after each step. sample() -> a fresh batch; seed: of the first weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**32)
        net = JudgeNet(classes)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-3, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        batch = sample()
        loss = functional.cross_entropy(net(batch.images), batch.labels, label_smoothing=0.02)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        yield loss.item(), net


def finished(kind: Kind, net: JudgeNet, sprites: Sprites, words: Vocabulary, rng: torch.Generator) -> CnnJudge:
    """The trained judge with its accuracy on 4,000 unseen clean renderings."""
    sample = renderings(kind, 4000, sprites, words, rng)
    return measured(net, f"{kind}-cnn/{VERSION}", classes_of(kind, words), sample)


def measured(net: JudgeNet, name: str, classes: tuple[str, ...], unseen: Sample) -> CnnJudge:
    """A trained net as a judge, with its accuracy on `unseen`."""
    judge = CnnJudge(net.eval().requires_grad_(False), name, classes, 0.0)
    accuracy = (judge.probabilities(unseen.images).argmax(1) == unseen.labels).float().mean().item()
    return replace(judge, accuracy=round(accuracy, 4))
