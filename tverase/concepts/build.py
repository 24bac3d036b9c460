"""A concept from its name and what else is given: templates by kind fill in the rest, and say so."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ..errors import ConfigError
from .base import FREE, Concept, Kind, Prompt
from .retain import divided
from .wording import CAPTIONS, WORDINGS


@dataclass(frozen=True)
class Built:
    """A concept, the assumptions made for it, and warnings about its settings."""

    concept: Concept
    assumed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def build(name: str, kind: Kind = "object", given: Mapping[str, Any] | None = None) -> Built:
    """The concept called `name`; `given` are fields of `Concept`, the others come from the kind's wording."""
    fields, assumed = dict(given or {}), list[str]()
    noun, wording = str(fields.get("noun") or name), WORDINGS[kind]
    filled = {
        "templates": (wording.template,),
        "names": tuple(_said(pattern, noun) for pattern in wording.names),
        "compositions": tuple(_said(pattern, noun) for pattern in wording.compositions),
    }
    for key, prompts in filled.items():
        if fields.get(key) is None and prompts:
            fields[key] = prompts
            assumed.append(f"{key} {_listed(prompts)}")
    if not fields.get("retain"):
        fields["retain"] = divided([Prompt(caption) for caption in CAPTIONS])
        assumed.append(f"retain {len(CAPTIONS)} everyday captions, counted by agreement with the base model")
    try:
        return Built(
            Concept.model_validate(_sorted({**fields, "name": name, "kind": kind, "noun": noun})), tuple(assumed)
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = str(first["msg"]).removeprefix("Value error, ")
        raise ConfigError(f"concept {name!r}: {place + ': ' if place else ''}{message}.") from None


def _said(pattern: str, noun: str) -> str:
    """The pattern with the noun, and `an` before a vowel."""
    return re.sub(r"\ba \{\}", "an {}" if noun[:1].lower() in "aeiou" else "a {}", pattern).replace(FREE, noun)


def _sorted(fields: dict[str, Any]) -> dict[str, Any]:
    """Compositions in two halves, unless the tuning prompts are given; templates made of the tuning prompts as well."""
    compositions = tuple(fields.get("compositions") or ())
    if fields.get("tuning") is None:
        fields["tuning"], fields["compositions"] = compositions[::2], compositions[1::2]
    noun = fields["noun"]
    made = (
        prompt.replace(noun, FREE, 1)
        for prompt in fields["tuning"]
        if noun in prompt and not set(prompt.replace(noun, "", 1)) & set(FREE)
    )
    fields["templates"] = tuple(dict.fromkeys((*fields["templates"], *made)))
    fields["tuning"] = (*fields["tuning"], *fields.pop("grown_tuning", ()))
    return fields


def _listed(prompts: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(repr(prompt) for prompt in prompts[:most])
    return f"{shown} and {len(prompts) - most} more" if len(prompts) > most else shown
