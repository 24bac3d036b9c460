"""What a concept is: its forget set as prompts by input kind, its retain set, and what a judge has to see."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from pydantic import Field, field_validator, model_validator

from ..errors import ConfigError
from ..settings import Settings

Kind = Literal["object", "style", "person", "nsfw", "class", "topic"]
KINDS: tuple[Kind, ...] = ("object", "style", "person", "nsfw", "class", "topic")
Role = Literal["tune", "report"]
LONGEST = 80  # characters of a slug and of a run's name
# Names that the retain set takes: `retain` for its images in a file, `control` for its random numbers.
RESERVED = ("retain", "control")
FREE = "{}"  # the place of the free token in a template


@dataclass(frozen=True)
class Prompt:
    """A prompt of the retain set, and the labels that a judge should see in its image.

    Without labels the image is compared with the base model's. role: the half of the retain set; None is both.
    """

    text: str
    labels: tuple[str, ...] = ()
    role: Role | None = None


class Concept(Settings):
    """A concept with its prompts. It knows no world, no model and no judge."""

    name: str = Field(min_length=1, max_length=200)
    kind: Kind = "object"
    noun: str = ""  # the words whose embedding is the concept's own; empty: the name
    names: tuple[str, ...] = Field(min_length=1)
    synonyms: tuple[str, ...] = ()
    compositions: tuple[str, ...] = ()
    templates: tuple[str, ...] = Field(default=("a {}",), min_length=1)  # the first is the concept's own
    tuning: tuple[str, ...] = ()  # more compositions, for whatever tunes; none of them is scored
    validating: tuple[str, ...] = ()  # grown prompts that validate a strength
    reporting: tuple[str, ...] = ()  # grown prompts that are only scored
    neighbours: tuple[str, ...] = ()  # labels where harm is likeliest: reported, not protected
    label: str = ""  # what the judge has to see; empty: the name
    retain: tuple[Prompt, ...] = ()
    reserve: tuple[Prompt, ...] = ()  # the retain set if other concepts take all of `retain`
    judge: dict[str, Any] | None = None
    images: Path | None = None  # a folder with own images of the concept
    retain_images: Path | None = None  # a folder with own images of the retain set, with captions
    source: str = ""  # the producer's name or the file

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("name"), str):
            return {**given, **{key: given.get(key) or given["name"] for key in ("noun", "label")}}
        return given

    @field_validator("names", "synonyms", "compositions", "tuning", "validating", "reporting", "templates")
    @classmethod
    def _none_is_empty(cls, prompts: tuple[str, ...]) -> tuple[str, ...]:
        if any(not prompt.strip() for prompt in prompts):
            raise ValueError("a prompt is empty; write it out or delete the line")
        return prompts

    @field_validator("templates")
    @classmethod
    def _one_free_place(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if template.count(FREE) != 1 or set(template.replace(FREE, "", 1)) & set("{}"):
                raise ValueError(f"template {template!r} must contain {FREE} exactly once, as in 'a photo of {FREE}'")
        return templates

    @model_validator(mode="after")
    def _has_a_slug(self) -> Self:
        if not self.name.isprintable() or not any(c.isalnum() for c in self.name):
            raise ValueError(f"name {self.name!r} must contain a letter or a digit and no control characters")
        return self

    @classmethod
    def named(cls, spec: str) -> "Concept":
        """The concept of a name or of a concept file, as in `concepts` of params.yaml."""
        from .resolve import resolve

        found = resolve(spec).concepts
        if len(found) > 1:
            listed = ", ".join(concept.name for concept in found)
            raise ConfigError(f"{spec} lists several concepts ({listed}); name each of them.")
        return found[0]

    @property
    def slug(self) -> str:
        """The name as a file name."""
        return slug(self.name)

    @property
    def template(self) -> str:
        """The concept's own template, with a place for a free token."""
        return self.templates[0]

    @property
    def prompts_by_kind(self) -> dict[str, tuple[str, ...]]:
        """Input kind to the prompts that are scored, without the kinds that have none."""
        found = {
            "name": self.names,
            "synonyms": self.synonyms,
            "compositions": self.compositions,
            "grown": self.reporting,
        }
        return {kind: prompts for kind, prompts in found.items() if prompts}

    @property
    def folders(self) -> dict[str, Path]:
        """The folders of own images, by what they are: inputs of whatever learns from them."""
        found = {"images": self.images, "retain_images": self.retain_images}
        return {name: path for name, path in found.items() if path is not None}

    def content(self) -> dict[str, Any]:
        """Everything that decides a result, as JSON: not where it came from. Own pictures count as files."""
        return self.model_dump(mode="json", exclude={"source", "images", "retain_images"})

    @property
    def prompts(self) -> tuple[str, ...]:
        """All prompts of the forget set, each once."""
        every = (*self.names, *self.synonyms, *self.compositions, *self.tuning, *self.validating, *self.reporting)
        return tuple(dict.fromkeys(every))


class Producer(Protocol):
    """A plug-in of kind `concept`: a source of named concepts, such as a vocabulary."""

    def names(self) -> tuple[str, ...]:
        """The concepts that it knows."""
        ...

    def concept(self, name: str) -> Concept:
        """One of them."""
        ...


def slug(name: str) -> str:
    """A name as a file name of at most `LONGEST` characters: `Café Noir` -> `cafe-noir`.

    A hash is added where letters are lost or the name is too long, so that two names rarely share a slug.
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c)).lower()
    short = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    lost = any(c.isalnum() and not c.isascii() for c in plain)
    if lost or not short:
        short = f"{short[: LONGEST - 7]}-{_digest(name)[:6]}".strip("-")
    return short if len(short) <= LONGEST else f"{short[: LONGEST - 9]}-{_digest(name)[:8]}"


def run_name(concepts: Iterable[Concept]) -> str:
    """The slugs joined by `+`: a file name, however many concepts there are."""
    name = "+".join(concept.slug for concept in concepts)
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 9]}+{_digest(name)[:8]}"


def distinct(concepts: Sequence[Concept]) -> None:
    """Refuse two concepts that are the same or share a slug, because their files would overwrite each other."""
    seen: dict[str, Concept] = {}
    for concept in concepts:
        if concept.slug in RESERVED:
            raise ConfigError(f"concept {concept.name!r} has a name that the retain set uses; give it a longer name.")
        other = seen.get(concept.slug)
        if other is not None and other.name == concept.name:
            raise ConfigError(f"concept {concept.name!r} is named twice; name each concept once.")
        if other is not None:
            raise ConfigError(
                f"concepts {other.name!r} and {concept.name!r} share the file name {concept.slug!r}; rename one of them."
            )
        seen[concept.slug] = concept


def mentions(text: str, concept: Concept) -> bool:
    """Whether a prompt contains the concept's name or noun as whole words, in any case."""
    return any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.I) for word in (concept.name, concept.noun))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
