"""Grown prompts: found by people or attacks, added to a concept file with provenance, in three sets that stay disjoint."""

import hashlib
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from ..errors import ConfigError
from ..files import write_text
from ..settings import Settings
from ..yamlfile import parse_document, read_document

GrownRole = Literal["tune", "validate", "report"]
ROLES: tuple[GrownRole, ...] = ("tune", "validate", "report")


class Grown(Settings):
    """One grown prompt: its text, who added it, when, and the attack that found it."""

    prompt: str = Field(min_length=1)
    by: str = ""
    when: str = ""
    attack: str = ""


def normalised(text: str) -> str:
    """The text without differences of case, width and spacing."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def role_of(text: str) -> GrownRole:
    """The set of a grown prompt, by a hash of its normalised text: the same for ever, whatever else is added."""
    digest = hashlib.sha256(normalised(text).encode()).digest()
    return ROLES[int.from_bytes(digest[:8], "big") % len(ROLES)]


def add_prompts(
    path: Path, prompts: Sequence[str], by: str = "", attack: str = "", when: str | None = None
) -> dict[str, GrownRole]:
    """Add prompts to a concept file, all or none; returns those that were new, each with its set.

    A prompt that the file already has, in any set, is left as it is. Comments outside of `grown` are kept.
    """
    from .files import read_concept

    document = read_document(path)
    if "concepts" in document.content:
        raise ConfigError(f"{path} lists concepts; add prompts to the file of one of them.")
    known = {normalised(text) for text in read_concept(document).concept.prompts}
    new: dict[str, GrownRole] = {}
    for prompt in (text.strip() for text in prompts):
        if not prompt or not prompt.isprintable():
            raise ConfigError(f"the prompt {prompt!r} is empty or has control characters; nothing was added.")
        if normalised(prompt) not in known:
            new[prompt] = role_of(prompt)
            known.add(normalised(prompt))
    if new:
        moment = when or datetime.now(UTC).isoformat(timespec="seconds")
        made = [{"prompt": p, "by": by, "when": moment, "attack": attack} for p in new]
        text = _with(path.read_text(encoding="utf-8-sig"), [*document.content.get("grown", ()), *made])
        read_concept(parse_document(text, str(path)))
        write_text(path, text)
    return new


def _with(text: str, grown: Sequence[dict[str, Any]]) -> str:
    """The file's text with another `grown` block; everything else stays as it is written."""
    plain = [{key: value for key, value in one.items() if value} for one in grown]
    block = yaml.safe_dump({"grown": plain}, allow_unicode=True, sort_keys=False, width=1000)
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
        if key.value == "grown":
            begin, end = key.start_mark.index, value.end_mark.index
            rest = text[end:].lstrip("\n")
            return text[:begin] + block + (f"\n{rest}" if rest else "")
    return f"{text.rstrip()}\n\n{block}"
