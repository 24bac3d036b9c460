"""From what a person writes in `concepts` to concepts: a file, a name of a producer, or any other name."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

from ..errors import ConfigError
from ..registry import entries, load
from .base import KINDS, Concept, Producer, distinct
from .build import build

SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Resolved:
    """The concepts, the assumptions made for them, and warnings about their files, for people to read."""

    concepts: tuple[Concept, ...]
    notices: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def resolve(spec: str) -> Resolved:
    """The concepts of one entry of `concepts`: several if it is a file that lists some, otherwise one.

    A path that ends in .yaml or .yml is read. A name that a producer knows is the producer's. Any other name is built
    from templates, with a notice.
    """
    spec = spec.strip()
    if spec.endswith(SUFFIXES) or "/" in spec:
        from .files import read_concepts

        return read_concepts(spec)
    known = [producer for producer in producers() if spec in producer.names()]
    if len(known) > 1:
        listed = " and ".join(type(producer).__name__ for producer in known)
        raise ConfigError(f"{listed} both know the concept {spec!r}; write a concept file for the one that is meant.")
    if known:
        return _once(known[0].concept, spec)
    made = build(spec)
    return Resolved((made.concept,), (_notice(spec, made.assumed),))


def resolve_all(specs: Iterable[str]) -> Resolved:
    """The concepts of all entries; a `ConfigError` if two of them are the same or share a file name."""
    parts = [resolve(spec) for spec in specs]
    concepts = tuple(concept for part in parts for concept in part.concepts)
    distinct(concepts)
    notices, warnings = (tuple(n for part in parts for n in getattr(part, key)) for key in ("notices", "warnings"))
    return Resolved(concepts, notices, warnings)


@cache
def _once(producing: Callable[[str], Concept], name: str) -> Resolved:
    """A producer's concept of this name, which is made once in a process."""
    return Resolved((producing(name),))


@cache
def producers() -> tuple[Producer, ...]:
    """The registered sources of named concepts."""
    return tuple(load("concept", name)() for name in entries("concept"))


def known_names() -> tuple[str, ...]:
    """All names that producers know."""
    return tuple(name for producer in producers() for name in producer.names())


def _notice(name: str, assumed: Iterable[str]) -> str:
    return f"concept {name!r} is in no vocabulary{suggestion(name)}; assumed by its name: kind object; {'; '.join(assumed)}. {_HOW}"


def suggestion(name: str) -> str:
    """` (did you mean 'bomb'?)` if producers know names like this one, otherwise nothing."""
    close = list(_nearest(name))
    return f" (did you mean {' or '.join(repr(c) for c in close)}?)" if close else ""


def _nearest(name: str) -> Iterator[str]:
    yield from get_close_matches(name, known_names(), n=2, cutoff=0.6)


_HOW = f"To change this, write a file: tverase concept new NAME --kind {{{','.join(KINDS)}}}."
