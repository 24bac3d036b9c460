"""Concept files: YAML to `Concept`, strictly; every problem is one sentence with its line."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError, field_validator

from ..errors import ConfigError, unknown
from ..registry import built
from ..settings import Settings
from ..yamlfile import Document, read_document
from .base import KINDS, Concept, Kind, Prompt, mentions
from .build import Built, build
from .own import captioned, require_images
from .prompts import Grown, role_of
from .resolve import Resolved, resolve
from .retain import divided

Labels = str | tuple[str, ...] | None


class ConceptFile(Settings):
    """The keys of a concept file."""

    name: str
    kind: Kind = "object"
    noun: str = ""
    names: tuple[str, ...] | None = None
    synonyms: tuple[str, ...] = ()
    compositions: tuple[str, ...] | None = None
    tuning: tuple[str, ...] | None = None
    templates: tuple[str, ...] | None = None
    neighbours: tuple[str, ...] = ()
    label: str = ""
    retain: str | tuple[str, ...] | dict[str, Labels] | None = None
    judge: dict[str, Any] | str | None = None
    images: str | None = None
    retain_images: str | None = None
    grown: tuple[Grown, ...] = ()

    @field_validator("names", "templates", "compositions", "retain")
    @classmethod
    def _not_empty(cls, value: Any) -> Any:
        if value is not None and len(value) == 0:
            raise ValueError("is empty; list at least one, or delete the key to get the templates of the kind")
        return value


class GroupFile(Settings):
    """The keys of a file that lists concepts."""

    name: str = ""
    concepts: tuple[str, ...]


def read_concepts(path: str | Path) -> Resolved:
    """The concept of a file, or the concepts of a group file, which names files relative to itself or known names."""
    return _read(Path(path), ())


def files_of(spec: str) -> tuple[Path, ...]:
    """The files that an entry of `concepts` is read from: itself, those that it lists, and its list of captions."""
    if not _is_file(spec):
        return ()
    path, content = Path(spec), read_document(Path(spec)).content
    inside = [str(path.parent / one) for one in content.get("concepts", ()) if _is_file(one)]
    retain = content.get("retain")
    captions = (path.parent / retain,) if isinstance(retain, str) else ()
    return (path, *captions, *(file for one in inside for file in files_of(one)))


def _read(path: Path, above: tuple[Path, ...]) -> Resolved:
    if path.resolve() in above:
        raise ConfigError(f"{path} lists itself, by way of {above[-1]}; delete one of the entries.")
    document = read_document(path)
    if "concepts" not in document.content:
        made = read_concept(document)
        note = f"{path}: assumed {'; '.join(made.assumed)}."
        return Resolved((made.concept,), (note,) if made.assumed else (), made.warnings)
    group: GroupFile = _checked(document, GroupFile)
    parts = []
    for spec in group.concepts:
        inside = path.parent / spec
        parts.append(_read(inside, (*above, path.resolve())) if _is_file(spec) else resolve(spec))
    if not parts:
        raise ConfigError(f"{document.place(('concepts',))}: the group lists no concept; list files or names.")
    return Resolved(*(tuple(x for part in parts for x in getattr(part, key)) for key in _PARTS))


_PARTS: tuple[Literal["concepts", "notices", "warnings"], ...] = ("concepts", "notices", "warnings")


def _is_file(spec: str) -> bool:
    return spec.endswith((".yaml", ".yml")) or "/" in spec


def read_concept(document: Document) -> Built:
    """The concept that a document describes."""
    content: ConceptFile = _checked(document, ConceptFile)
    folder = Path(document.name).parent
    fields = content.model_dump(exclude_none=True, exclude={"name", "kind", "retain", "grown", "judge"})
    for key in ("images", "retain_images"):
        if key in fields:
            fields[key] = require_images(folder / fields[key], document.place((key,)))
    retain = _retain(content, document, folder)
    if content.retain_images:
        captions = captioned(fields["retain_images"])
        retain = retain or [Prompt(text) for text in dict.fromkeys(captions.values())]
    judge, label, assumed = _judged(content, document, retain)
    grown = {role: [g.prompt for g in content.grown if role_of(g.prompt) == role] for role in _GROWN}
    fields |= {
        "retain": divided(retain),
        "judge": judge,
        "label": label,
        "source": document.name,
        **{_GROWN[role]: tuple(prompts) for role, prompts in grown.items()},
    }
    try:
        made = build(content.name, content.kind, fields)
    except ConfigError as error:
        raise ConfigError(f"{document.name}: {error}") from None
    return Built(made.concept, (*assumed, *made.assumed), tuple(_warnings(made.concept, document.name)))


_GROWN = {"tune": "grown_tuning", "validate": "validating", "report": "reporting"}


def _retain(content: ConceptFile, document: Document, folder: Path) -> list[Prompt]:
    place = document.place(("retain",))
    match content.retain:
        case None:
            return []
        case str() as name:
            texts: Mapping[str, Labels] = dict.fromkeys(_lines(folder / name, place))
        case Mapping() as given:
            texts = given
        case listed:
            texts = dict.fromkeys(listed)
    prompts = [Prompt(text.strip(), _labels(labels)) for text, labels in texts.items()]
    if any(not prompt.text for prompt in prompts):
        raise ConfigError(f"{place}: a retain prompt is empty; write it out or delete the line.")
    if len(prompts) < 2:
        raise ConfigError(f"{place}: expected at least 2 retain prompts, one to tune and one to report; got 1.")
    return prompts


def _labels(labels: Labels) -> tuple[str, ...]:
    return () if labels is None else (labels,) if isinstance(labels, str) else labels


def _lines(path: Path, place: str) -> Iterable[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"{place}: the captions in {path} cannot be read ({type(error).__name__}).") from None
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise ConfigError(f"{place}: {path} holds no caption; write one a line.")
    return found


def _judged(
    content: ConceptFile, document: Document, retain: Iterable[Prompt]
) -> tuple[dict[str, Any] | None, str, list[str]]:
    """The judge's settings, the label that it has to see, and the assumptions. Labels are checked if the judge lists them."""
    if content.judge is None:
        return None, content.label, []
    try:
        built("judge", content.judge)
    except ConfigError as error:
        raise ConfigError(f"{document.place(('judge',))}: {error}") from None
    spec = content.judge if isinstance(content.judge, dict) else _spelled(content.judge)
    known = list(_flat(spec.get("labels")))
    label = content.label or content.name
    if not known:
        return spec, content.label, []
    assumed = []
    if label not in known:
        if content.label:
            raise ConfigError(f"{document.place(('label',))}: {unknown('label of the judge', label, known)}.")
        assumed.append(f"label: {known[0]!r}, the judge's first")
        label = known[0]
    for prompt in retain:
        if odd := [one for one in prompt.labels if one not in known]:
            place = document.place(("retain", prompt.text))
            raise ConfigError(f"{place}: {unknown('label of the judge', odd[0], known)}.")
    return spec, label, assumed


def _flat(labels: Any) -> Iterator[str]:
    """The labels of a judge, from a list or from several lists by name."""
    for part in labels.values() if isinstance(labels, Mapping) else [labels or ()]:
        yield from part


def _spelled(text: str) -> dict[str, Any]:
    """`python:a.b:c` as a mapping, by the plug-in's own short form."""
    plugin = built("judge", text)
    return {"kind": text.partition(":")[0], **plugin.model_dump(mode="json", exclude_unset=True)}


def _warnings(concept: Concept, name: str) -> Iterable[str]:
    both = [p.text for p in concept.retain if concept.label in p.labels or mentions(p.text, concept)]
    if both:
        listed = "; ".join(repr(text) for text in both[:5]) + (f" and {len(both) - 5} more" if len(both) > 5 else "")
        yield f"{name}: {len(both)} retain prompts contain the concept {concept.name!r}: {listed}."


def _checked(document: Document, of: type[Any]) -> Any:
    try:
        return of.model_validate(document.content)
    except ValidationError as error:
        one = error.errors()[0]
        path = tuple(part for part in one["loc"] if isinstance(part, int) or part in document.content)
        place, key = document.place(path), ".".join(str(part) for part in path)
        if one["type"] == "extra_forbidden":
            place = document.place(tuple(one["loc"]))
            message = unknown("key", str(one["loc"][-1]), of.model_fields)
        elif one["type"] == "missing":
            message = f"the key {one['loc'][-1]!r} is missing; a concept file needs at least `name: van gogh`"
        elif key == "kind":
            message = unknown("kind", str(one["input"]), KINDS)
        else:
            text = str(one["msg"]).removeprefix("Value error, ")
            message = f"{key}: {text[:1].lower()}{text[1:]}"
        raise ConfigError(f"{place}: {message}.") from None
