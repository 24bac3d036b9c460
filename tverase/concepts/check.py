"""The positive control of a concept file: which prompts and labels are usable on a base model, before an hour is spent."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from ..bounds import Bound
from ..errors import ConfigError, NothingToErase
from ..judges.base import Judge, met, require_labels, shows
from ..models.base import Model
from ..rng import generator
from ..sampling import Sampling, draw
from .base import Concept
from .own import captioned
from .retain import evenly

KIND_OF_RETAIN = "retain"


@dataclass(frozen=True)
class Checked:
    """One line: an input kind or a retain label, the prompts, and how often the judge saw the right label."""

    kind: str
    what: str
    seen: Bound

    def usable(self, at_least: float) -> bool:
        """Whether enough images show it to measure its loss."""
        return self.seen.rate >= at_least


def check_prompts(model: Model, concepts: Sequence[Concept]) -> None:
    """Refuse prompts that the model's text encoder would cut: a `ConfigError` that names them."""
    cut = getattr(model, "overflow", None)  # models without a tokenizer cut nothing
    if cut is None:
        return
    texts = [text for concept in concepts for text in _texts(concept)]
    if long := cut(list(dict.fromkeys(texts))):
        listed = "; ".join(f"{prompt!r} ({lost} too many)" for prompt, lost in long[:3])
        more = f" and {len(long) - 3} more" if len(long) > 3 else ""
        raise ConfigError(f"prompts have more tokens than the text encoder takes: {listed}{more}; shorten them.")


def _texts(concept: Concept) -> Iterator[str]:
    yield from concept.prompts
    yield from (template.replace("{}", concept.noun) for template in concept.templates)
    yield from (prompt.text for prompt in (*concept.retain, *concept.reserve))
    if concept.retain_images is not None:
        yield from captioned(concept.retain_images).values()


def check_concept(
    model: Model, concept: Concept, judge: Judge, sampling: Sampling, seed: int, images: int
) -> Iterator[Checked]:
    """`images` images of each prompt of the input kinds, at most eight prompts a kind, and of each retain label.

    Labels that the judge does not know are a `ConfigError`, prompts that are too long as well.
    """
    check_prompts(model, [concept])
    require_labels(judge, [concept.label, *(label for prompt in concept.retain for label in prompt.labels)])
    for kind, prompts in {**concept.prompts_by_kind, "tuning": concept.tuning}.items():
        some = evenly(prompts, min(len(prompts), MOST))
        drawn = _drawn(model, [[prompt] * images for prompt in some], sampling, generator(seed, f"check/{kind}"))
        for prompt, part in zip(some, drawn, strict=True):
            yield Checked(kind, prompt, Bound(int(shows(judge, part, concept.label).sum()), images))
    every = list(dict.fromkeys(label for prompt in concept.retain for label in prompt.labels))
    labels = evenly(every, min(len(every), 2 * MOST))
    texts = [_in_turn([p.text for p in concept.retain if label in p.labels], images) for label in labels]
    drawn = _drawn(model, texts, sampling, generator(seed, f"check/{KIND_OF_RETAIN}"))
    for label, part in zip(labels, drawn, strict=True):
        yield Checked(KIND_OF_RETAIN, label, Bound(int(met(judge, part, [label] * images).sum()), images))


MOST = 8  # prompts of an input kind


def require_seen(concept: Concept, lines: Sequence[Checked], judge: Judge, at_least: float) -> None:
    """`NothingToErase` unless the judge sees the concept in enough images of its names."""
    mine = [line.seen for line in lines if line.kind == "name"]
    hits, drawn = sum(b.successes for b in mine), sum(b.trials for b in mine)
    if hits < at_least * drawn:
        raise NothingToErase(
            f"judge {judge.name} sees {concept.label!r} in only {hits} of {drawn} images that the base model draws by the "
            f"names of {concept.name!r} (at least {at_least:.0%} expected); use another judge, label, or names."
        )


def _in_turn(texts: Sequence[str], count: int) -> list[str]:
    return evenly(texts, count) if len(texts) >= count else [texts[i % len(texts)] for i in range(count)]


def _drawn(
    model: Model, groups: Sequence[Sequence[str]], sampling: Sampling, rng: torch.Generator
) -> tuple[torch.Tensor, ...]:
    """The images of each group of prompts, all drawn together."""
    texts = [text for group in groups for text in group]
    if not texts:
        return ()
    return torch.split(draw(model, model.encode(texts), rng, sampling), len(groups[0]))
