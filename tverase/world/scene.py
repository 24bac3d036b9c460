"""A scene: one object in one style, with place, size, mirroring and background."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from .sprites import SIZE, Sprites
from .vocabulary import Vocabulary

PIXELS = 32  # the world's images are 32 x 32
PLACES = ("centre", "left", "right", "top", "bottom")
SIZES = ("medium", "small", "large")
_SHIFT = {"centre": (0, 0), "left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}
_SPREAD = {"small": (0.60, 0.66), "medium": (0.74, 0.82), "large": (0.90, 0.98)}


@dataclass(frozen=True)
class Scenes:
    """A batch of scenes; every field is a long tensor (B,) of indices into the vocabulary's lists."""

    thing: Tensor
    style: Tensor
    background: Tensor
    place: Tensor
    size: Tensor
    mirror: Tensor

    def __len__(self) -> int:
        return len(self.thing)

    def __getitem__(self, at: Tensor | slice) -> "Scenes":
        return Scenes(**{f.name: getattr(self, f.name)[at] for f in fields(self)})


def sample_scenes(count: int, words: Vocabulary, rng: torch.Generator, *, things: Tensor | None = None) -> Scenes:
    """`count` scenes, uniform over objects (or over the indices in `things`), styles and backgrounds."""

    def draw(among: int) -> Tensor:
        return torch.randint(among, (count,), generator=rng)

    thing = draw(len(words.objects)) if things is None else things[draw(len(things))]
    place = torch.where(torch.rand(count, generator=rng) < 0.5, 0, draw(len(PLACES)))
    size = torch.where(torch.rand(count, generator=rng) < 0.5, 0, draw(len(SIZES)))
    mirror = (torch.rand(count, generator=rng) < 0.25).long()
    return Scenes(thing, draw(len(words.styles)), draw(len(words.backgrounds)), place, size, mirror)


def without_held_out(scenes: Scenes, words: Vocabulary) -> Scenes:
    """The scenes whose (object, style) pair may be seen in training."""
    keep = torch.ones(len(scenes), dtype=torch.bool)
    for name, style in words.held_out_pairs:
        pair = (scenes.thing == words.names.index(name)) & (scenes.style == words.styles.index(style))
        keep &= ~pair
    return scenes[keep]


def render(scenes: Scenes, sprites: Sprites, words: Vocabulary, rng: torch.Generator) -> Tensor:
    """The scenes as images in [-1, 1], (B, 3, 32, 32)."""
    return compose(sprites.objects[scenes.thing, scenes.style], scenes, words, rng)


def compose(sprite: Tensor, scenes: Scenes, words: Vocabulary, rng: torch.Generator) -> Tensor:
    """Put `sprite` (B, 4, 64, 64), premultiplied RGBA, where `scenes` says; images in [-1, 1], (B, 3, 32, 32)."""
    count = len(scenes)
    low, high = torch.tensor([_SPREAD[s] for s in SIZES])[scenes.size].T
    scale = low + (high - low) * torch.rand(count, generator=rng)
    shift = torch.tensor([_SHIFT[p] for p in PLACES], dtype=torch.float32)[scenes.place]
    # A place moves the sprite by a tenth of the image (less if it is large); everything trembles by two hundredths.
    centre = shift * torch.minimum(torch.tensor(0.24), 1.05 - scale)[:, None]
    centre = centre + 0.04 * (2 * torch.rand(count, 2, generator=rng) - 1)
    flip = torch.where(scenes.mirror == 1, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = flip / scale, 1 / scale
    theta[:, :, 2] = -centre * torch.stack([flip, torch.ones(count)], 1) / scale[:, None]
    grid = functional.affine_grid(theta, [count, 4, SIZE, SIZE], align_corners=False)
    placed = functional.grid_sample(sprite, grid, mode="bilinear", align_corners=False)
    small = functional.avg_pool2d(placed, SIZE // PIXELS)
    colours = torch.tensor(list(words.backgrounds.values()), dtype=torch.float32) / 255
    ground = colours[scenes.background][:, :, None, None]
    return (small[:, :3] + (1 - small[:, 3:]) * ground) * 2 - 1
