"""Fitting of the independent judge, on the same kind of renderings as our own; never on generated images."""

from dataclasses import replace
from typing import get_args

import torch

from ..judges import backbone
from ..judges.probe import ProbeJudge, fit
from ..rng import generator
from ..world.sprites import Sprites
from ..world.vocabulary import Vocabulary
from .judges import Kind, Sample, classes_of, nameless, renderings, roughen, rubbish

VERSION = 1
UNSEEN = 1000  # renderings that a probe's accuracy is measured on


def fitted_probes(sprites: Sprites, words: Vocabulary, seed: int, images: int = 8000) -> dict[Kind, ProbeJudge]:
    """A probe of each kind, fitted on the same `images` images, with its accuracy on unseen renderings."""
    seen = {kind: training_images(kind, sprites, words, seed, images) for kind in get_args(Kind)}
    test = {kind: renderings(kind, UNSEEN, sprites, words, generator(seed, "probe/test")) for kind in seen}
    # The kinds differ in their labels only, so that the slow part is done once.
    known, unknown = (backbone.features(sample["object"].images) for sample in (seen, test))
    probes: dict[Kind, ProbeJudge] = {}
    for kind, sample in seen.items():
        name = f"{kind}-probe/{VERSION}"
        probe = fit(known, sample.labels, name, classes_of(kind, words), backbone.fingerprint())
        right = (probe.of_features(unknown).argmax(1) == test[kind].labels).float().mean().item()
        probes[kind] = replace(probe, accuracy=round(right, 4))
    return probes


def training_images(kind: Kind, sprites: Sprites, words: Vocabulary, seed: int, count: int) -> Sample:
    """Renderings, nameless objects and rubbish, about as our own judge was trained with, every second one roughened.

    The images are the same for both kinds, the labels are not.
    """
    rng = generator(seed, "probe")
    parts = [
        renderings(kind, int(count * 0.75), sprites, words, rng),
        nameless(kind, int(count * 0.15), sprites, words, rng),
        rubbish(kind, int(count * 0.1), sprites, words, rng),
    ]
    images = torch.cat([part.images for part in parts])
    rough = roughen(images, rng).clamp(-1, 1)
    every_other = (torch.arange(len(images)) % 2 == 0)[:, None, None, None]
    return Sample(torch.where(every_other, images, rough), torch.cat([part.labels for part in parts]))
