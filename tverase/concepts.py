"""Concepts: what is to go, in which words people ask for it, and what has to stay."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch

from .errors import ConfigError, unknown
from .world.captions import PLACE_WORDS, phrase
from .world.vocabulary import Vocabulary

Kind = Literal["object", "style", "class"]
T = TypeVar("T")


@dataclass(frozen=True)
class Prompt:
    """A prompt, and what a judge should see in its image: a class of the object judge, of the style judge, or both."""

    text: str
    thing: str | None = None
    style: str | None = None


@dataclass(frozen=True)
class Concept:
    """An object or a style of the embedded world, with its prompts by rung, from its name to compositions."""

    name: str
    kind: Kind
    noun: str  # the words whose embedding is the concept's own
    names: tuple[str, ...]  # rung 0
    synonyms: tuple[str, ...]  # rung 1
    compositions: tuple[str, ...]  # rung 2
    template: str  # the prompt that a free token stands in
    tuning: tuple[str, ...] = ()  # more compositions, none of them scored: for whatever tunes

    @property
    def slug(self) -> str:
        """The name as a file name."""
        return self.name.replace(" ", "-")

    @property
    def templates(self) -> tuple[str, ...]:
        """The template, and others made of the tuning prompts: each prompt with `{}` in the place of the noun."""
        return (self.template, *(prompt.replace(self.noun, "{}", 1) for prompt in self.tuning))

    @property
    def rungs(self) -> dict[str, tuple[str, ...]]:
        """Rung name to prompts, the empty ones left out."""
        rungs = {"name": self.names, "synonyms": self.synonyms, "compositions": self.compositions}
        return {rung: prompts for rung, prompts in rungs.items() if prompts}


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
    return Concept(
        name=name,
        kind="object",
        noun=name,
        names=(phrase(name), *(phrase(name, style) for style in words.styles)),
        synonyms=tuple(phrase(word) for word in extra),
        compositions=compositions[1::2],
        template="a {}",
        tuning=compositions[::2],
    )


def _style(name: str, words: Vocabulary) -> Concept:
    everything = [phrase(thing, name) for thing in words.names]
    tails = [
        f"{phrase(thing, name, tail=True)}, on a {ground} background"
        for thing in words.names[::4]
        for ground in words.backgrounds
    ]
    return Concept(
        name=name,
        kind="style",
        noun=name,
        names=(f"something in {name} style", *everything[::6]),
        synonyms=(),
        compositions=(*everything[1::3], *tails[::4]),
        template="something in {} style",
        tuning=(*everything[2::6], *tails[2::4]),
    )


def controls(concepts: list[Concept], words: Vocabulary) -> tuple[Prompt, ...]:
    """Plain prompts for every (object, style) that has nothing to do with the concepts.

    Where every style is to go, the objects in no style, and the other way round; a `ConfigError` if both are.
    """
    gone = {c.name for c in concepts}
    things = [t for t in words.names if t not in gone]
    styles = [s for s in words.styles if s not in gone]
    if not things and not styles:
        raise ConfigError("every object and every style is to be erased: nothing is left that the model must keep.")
    if not styles:
        return tuple(Prompt(phrase(thing), thing) for thing in things)
    if not things:
        return tuple(Prompt(f"something in {style} style", None, style) for style in styles)
    return tuple(Prompt(phrase(thing, style), thing, style) for thing in things for style in styles)


def control_halves(concepts: list[Concept], words: Vocabulary) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...]]:
    """The controls in two halves: on the first everything is tuned, on the second it is scored and nothing else.

    Like a chess board of objects and styles, so that both halves have every object and every style.
    """
    places = {name: i for axis in (words.names, words.styles) for i, name in enumerate(axis)}
    colours: tuple[list[Prompt], list[Prompt]] = ([], [])
    for prompt in controls(concepts, words):
        colours[sum(places[name] for name in (prompt.thing, prompt.style) if name) % 2].append(prompt)
    return tuple(colours[0]), tuple(colours[1])


def spread(prompts: Sequence[Prompt], count: int, rng: torch.Generator) -> tuple[Prompt, ...]:
    """`count` of the prompts in a random order, each of them equally often give or take one."""
    order = torch.randperm(len(prompts), generator=rng).tolist()
    return tuple(prompts[order[i % len(order)]] for i in range(count))


def evenly(items: Sequence[T], count: int) -> list[T]:
    """`count` of the items in their order, spread evenly over all."""
    return [items[i * len(items) // count] for i in range(count)]


def neighbours(concept: Concept, words: Vocabulary) -> tuple[str, ...]:
    """Objects of the same group, or the other styles: where harm is likeliest."""
    if concept.kind == "style":
        return tuple(style for style in words.styles if style != concept.name)
    return tuple(n for n in words.groups[words.thing(concept.name).group] if n != concept.name)
