"""Fitting of the independent judge, on the same kind of renderings as our own; never on generated images."""

from dataclasses import replace

import torch

from ..judges import backbone
from ..judges.probe import ProbeJudge, fit
from ..rng import generator
from ..world.sprites import Sprites
from ..world.vocabulary import Vocabulary
from .judges import Kind, Sample, classes_of, nameless, renderings, roughen, rubbish

VERSION = 1


def fitted_probe(kind: Kind, sprites: Sprites, words: Vocabulary, seed: int, images: int = 4000) -> ProbeJudge:
    """A probe fitted on `images` images, half of them roughened, with its accuracy on 1,000 unseen renderings."""
    sample = training_images(kind, sprites, words, seed, images)
    name = f"{kind}-probe/{VERSION}"
    probe = fit(backbone.features(sample.images), sample.labels, name, classes_of(kind, words), backbone.fingerprint())
    unseen = renderings(kind, 1000, sprites, words, generator(seed, f"probe/{kind}/test"))
    right = (probe.probabilities(unseen.images).argmax(1) == unseen.labels).float().mean().item()
    return replace(probe, accuracy=round(right, 4))


def training_images(kind: Kind, sprites: Sprites, words: Vocabulary, seed: int, count: int) -> Sample:
    """Renderings, nameless objects and rubbish in the proportions that our own judge was trained with."""
    rng = generator(seed, f"probe/{kind}")
    parts = [
        renderings(kind, int(count * 0.75), sprites, words, rng),
        nameless(kind, int(count * 0.15), sprites, words, rng),
        rubbish(kind, int(count * 0.1), sprites, words, rng),
    ]
    images = torch.cat([part.images for part in parts])
    rough = roughen(images, rng).clamp(-1, 1)
    every_other = (torch.arange(len(images)) % 2 == 0)[:, None, None, None]
    return Sample(torch.where(every_other, images, rough), torch.cat([part.labels for part in parts]))
