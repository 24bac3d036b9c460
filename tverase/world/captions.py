"""Captions: a scene in words, complete or with omissions, as people write."""

import torch

from .scene import PLACES, SIZES, Scenes
from .vocabulary import Vocabulary

PLACE_WORDS = {"left": "on the left", "right": "on the right", "top": "at the top", "bottom": "at the bottom"}


def article(word: str) -> str:
    """`a` or `an`, for the word that follows."""
    return "an" if word[0] in "aeiou" else "a"


def phrase(noun: str, style: str | None = None, *, tail: bool = False) -> str:
    """`a noto bomb`, `a bomb in noto style` (tail) or `a bomb`."""
    if style is None:
        return f"{article(noun)} {noun}"
    return f"{article(noun)} {noun} in {style} style" if tail else f"{article(style)} {style} {noun}"


def captions(scenes: Scenes, words: Vocabulary, rng: torch.Generator) -> list[str]:
    """One caption for each scene; the style is said in four of five, the rest of it in about a half."""
    chance = torch.rand(len(scenes), 7, generator=rng)
    return [_caption(scenes, i, words, chance[i].tolist()) for i in range(len(scenes))]


def _caption(scenes: Scenes, i: int, words: Vocabulary, chance: list[float]) -> str:
    name = words.names[int(scenes.thing[i])]
    nouns = (name, *words.objects[name].words)
    # The name itself in 70% of captions, a synonym in the others.
    spread = min(int((chance[0] - 0.7) / 0.3 * (len(nouns) - 1)), len(nouns) - 2) + 1
    noun = nouns[spread] if chance[0] > 0.7 and len(nouns) > 1 else name
    style: str | None = words.styles[int(scenes.style[i])]
    if chance[6] > 0.95:  # a style alone, so that it has a name of its own
        return f"something in {style} style"
    size, place = SIZES[int(scenes.size[i])], PLACES[int(scenes.place[i])]
    if size != "medium" and chance[1] < 0.6:
        noun = f"{size} {noun}"
    text = phrase(noun, style if chance[2] < 0.8 else None, tail=chance[2] < 0.3)
    if place != "centre" and chance[3] < 0.6:
        text += f" {PLACE_WORDS[place]}"
    if scenes.mirror[i] and chance[4] < 0.6:
        text += ", mirrored"
    if chance[5] < 0.5:
        text += f", on a {tuple(words.backgrounds)[int(scenes.background[i])]} background"
    return text
