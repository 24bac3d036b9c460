"""The emoji vocabulary as concepts: 64 objects and 5 styles of the embedded world."""

from collections.abc import Iterable

from ..concepts.base import Concept, Prompt, Role
from ..errors import ConfigError, unknown
from .captions import PLACE_WORDS, phrase
from .vocabulary import Vocabulary, vocabulary

NAME = "emoji"
JUDGE = {"kind": "embedded", "folder": "models/judges"}


class Emoji:
    """The producer of the objects and styles of vocabulary.yaml."""

    def names(self) -> tuple[str, ...]:
        """Objects first, then styles."""
        words = vocabulary()
        return (*words.names, *words.styles)

    def concept(self, name: str) -> Concept:
        """The object or style called `name`."""
        return concept(name, vocabulary())


PLUGIN = Emoji


def concept(name: str, words: Vocabulary) -> Concept:
    """The object or style called `name`; otherwise a `ConfigError` that names the nearest ones."""
    if name in words.styles:
        return _style(name, words)
    if name not in words.objects:
        raise ConfigError(unknown("concept", name, [*words.names, *words.styles]))
    thing = words.thing(name)
    extra = (*thing.words, *([thing.held_out] if thing.held_out else []))
    composed = [
        f"{phrase(name, style)}, on a {ground} background" for style in words.styles for ground in words.backgrounds
    ]
    placed = [f"{phrase(f'{size} {name}')} {place}" for size in ("small", "large") for place in PLACE_WORDS.values()]
    compositions = (*composed, *placed)
    return _made(
        words,
        name=name,
        kind="object",
        names=(phrase(name), *(phrase(name, style) for style in words.styles)),
        synonyms=tuple(phrase(word) for word in extra),
        compositions=compositions[1::2],
        template="a {}",
        tuning=compositions[::2],
        neighbours=words.groups[thing.group],
        reserve=[(f"something in {style} style", style) for style in words.styles],
    )


def _style(name: str, words: Vocabulary) -> Concept:
    everything = [phrase(thing, name) for thing in words.names]
    tails = [
        f"{phrase(thing, name, tail=True)}, on a {ground} background"
        for thing in words.names[::4]
        for ground in words.backgrounds
    ]
    return _made(
        words,
        name=name,
        kind="style",
        names=(f"something in {name} style", *everything[::6]),
        synonyms=(),
        compositions=(*everything[1::3], *tails[::4]),
        template="something in {} style",
        tuning=(*everything[2::6], *tails[2::4]),
        neighbours=words.styles,
        reserve=[(phrase(thing), thing) for thing in words.names],
    )


def _made(
    words: Vocabulary,
    *,
    name: str,
    template: str,
    tuning: tuple[str, ...],
    neighbours: Iterable[str],
    reserve: Iterable[tuple[str, str]],
    **given: object,
) -> Concept:
    """The concept, with templates made of its tuning prompts and every (object, style) without it as its retain set."""
    return Concept.model_validate(
        {
            **given,
            "name": name,
            "templates": (template, *(prompt.replace(name, "{}", 1) for prompt in tuning)),
            "tuning": tuning,
            "neighbours": tuple(other for other in neighbours if other != name),
            "retain": tuple(prompt for prompt in pairs(words) if name not in prompt.labels),
            "reserve": tuple(_prompt(text, words, label) for text, label in reserve),
            "judge": JUDGE,
            "source": NAME,
        }
    )


def pairs(words: Vocabulary) -> tuple[Prompt, ...]:
    """A plain prompt for every (object, style)."""
    return tuple(_prompt(phrase(thing, style), words, thing, style) for thing in words.names for style in words.styles)


def _prompt(text: str, words: Vocabulary, *labels: str) -> Prompt:
    """A prompt with its half: like a chess board, so that both halves have every object and every style."""
    places = {name: i for axis in (words.names, words.styles) for i, name in enumerate(axis)}
    role: Role = "report" if sum(places[label] for label in labels) % 2 else "tune"
    return Prompt(text, labels, role)
