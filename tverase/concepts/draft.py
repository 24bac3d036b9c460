"""A commented concept file to begin with."""

import json
from pathlib import Path

from ..errors import ConfigError, unknown
from ..files import write_text
from ..yamlfile import parse_document
from .base import KINDS, slug
from .build import build
from .files import read_concept

_HEAD = """\
# A concept for tverase; docs/concepts.md explains every key. Check it before a long run:
#   tverase concept check {path} --model FOLDER
name: {name}
kind: {kind}   # {kinds}

# The forget set. The first {tuned} names tune; all of them are scored.
names:
{names}
# synonyms:            # other words for it, only scored
#   - ...
# Compositions tune and score in turn: the first tunes, the second is scored, and so on.
{compositions}
# The prompt that a free token stands in; the first is the concept's own.
templates:
{templates}
# The retain set: what must stay. A list, a text file with one caption a line, or prompts with the label that the judge
# should see, as in `a photo of a dog: dog`. Without labels, images are compared with the base model's.
retain:
{retain}
# neighbours: [...]    # labels where harm is likeliest: reported, not protected

# The judge, see `tverase list judges`; its label for the concept.
{judge}

# images: folder         # own images of the concept instead of the base model's
# retain_images: folder  # own images of the retain set, each with its caption in a .txt file of the same name
"""

_JUDGES = {
    "nsfw": "judge: {kind: nudenet}\nlabel: nsfw",
    "other": "judge:\n  kind: clip\n  model: openai/clip-vit-large-patch14\n  labels: [LABEL, something else]\nlabel: LABEL",
}


def draft(name: str, kind: str, path: Path) -> str:
    """The text of a concept file for `name`, with the templates of its kind written out."""
    if kind not in KINDS:
        raise ConfigError(f"{unknown('kind', kind, KINDS)}.")
    concept = build(name, kind).concept
    together = [text for pair in zip(concept.tuning, concept.compositions, strict=False) for text in pair]
    judge = _JUDGES["nsfw"] if kind == "nsfw" else _JUDGES["other"].replace("LABEL", _quoted(name))
    return _HEAD.format(
        path=path,
        name=_quoted(name),
        kind=kind,
        kinds=", ".join(KINDS),
        tuned=2,
        names=_listed(concept.names),
        compositions=f"compositions:\n{_listed(together)}" if together else "# compositions: [...]",
        templates=_listed(concept.templates[:1]),
        retain=_listed([prompt.text for prompt in concept.retain]),
        judge=judge,
    )


def write_draft(name: str, kind: str, out: Path | None = None) -> Path:
    """Write a concept file that is valid without edits. An existing file is not overwritten."""
    path = out or Path("concepts") / f"{slug(name)}.yaml"
    text = draft(name, kind, path)
    read_concept(parse_document(text, str(path)))
    if path.exists():
        raise ConfigError(f"{path} exists; choose another file with --out, or delete it.")
    write_text(path, text)
    return path


def _listed(texts: list[str] | tuple[str, ...]) -> str:
    return "\n".join(f"  - {_quoted(text)}" for text in texts)


def _quoted(text: str) -> str:
    """The text as YAML: plain where that is safe, otherwise in double quotes."""
    simple = text.replace(" ", "").replace("-", "").isalpha() and text.isascii() and text.lower() not in _WORDS
    return (
        text if simple and text == text.strip() and not text.startswith("-") else json.dumps(text, ensure_ascii=False)
    )


_WORDS = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")
