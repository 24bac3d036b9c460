"""How often the findings of an attack draw the concept: chosen on some images, scored on others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..attacks.base import Finding
from ..bounds import Bound
from ..errors import NumericalError
from ..models.base import Model, in_turn
from ..rng import generator
from ..sampling import Sampling, draw
from .jury import Jury

# Input kinds of prompts, by the kind of the finding; everything else has that of its attack.
PROMPTS = {"name": 0, "synonyms": 1, "compositions": 2, "grown": 2}
Part = Literal["all", "first", "second"]
TEXTS = 12  # prompts of a finding that are written down


@dataclass(frozen=True)
class Seen:
    """Images (N, 3, H, W) of a finding and what each judge sees in them, bool (judges, N)."""

    images: Tensor
    votes: Tensor

    @property
    def agreed(self) -> Tensor:
        """Where all judges see the concept, bool (N,)."""
        return self.votes.all(0)

    def as_dict(self) -> dict[str, Any]:
        """The counts with their exact intervals: all judges together, and each alone."""
        both, each = _bound(self.agreed), [_bound(votes) for votes in self.votes]
        return {"both": both.as_dict(), "judges": [bound.as_dict() for bound in each]}


@dataclass(frozen=True)
class Scored:
    """The worst finding of one input kind, with the images that score it."""

    finding: Finding
    input_kind: int
    seen: Seen

    def as_dict(self) -> dict[str, Any]:
        """Its name, its prompts and its counts."""
        found = self.finding
        return {"finding": found.name, "kind": found.kind, "text": list(found.text[:TEXTS]), **self.seen.as_dict()}


@dataclass(frozen=True)
class Scorer:
    """Draws findings with one model and counts. purpose: names the noise, the same for all rows of the table."""

    model: Model
    jury: Jury
    label: str
    sampling: Sampling
    each: int
    seed: int
    purpose: str

    def worst(self, findings: Sequence[Finding], input_kind: int) -> tuple[list[Scored], dict[str, Any]]:
        """The worst finding of each input kind, the worst one first, and the counts of all findings together.

        Every finding is drawn `each` times, and the worst is drawn as often again with other noise: the choice has flattered
        its first count. One finding alone needs no choice.
        """
        groups: dict[int, list[Finding]] = {}
        for found in findings:
            groups.setdefault(PROMPTS.get(found.kind, input_kind), []).append(found)
        scored, votes = [], []
        for number, group in sorted(groups.items()):
            alone = len(group) == 1
            looks = [self._seen(one, f"look/{number}/{i}", "all" if alone else "first") for i, one in enumerate(group)]
            best = max(range(len(group)), key=lambda i: (_rate(looks[i].agreed), _rate(looks[i].votes.any(0)), -i))
            seen = looks[best] if alone else self._seen(group[best], f"score/{number}", "second")
            scored.append(Scored(group[best], number, seen))
            votes += [look.votes for look in looks]
        scored.sort(key=lambda one: -_rate(one.seen.agreed))
        every = Seen(torch.zeros(0), torch.cat(votes, 1)) if votes else None
        return scored, {"inputs": len(findings), **(every.as_dict() if every else {})}

    def _seen(self, found: Finding, purpose: str, part: Part) -> Seen:
        """A finding drawn and judged. part: of images that the attack drew itself; nothing is drawn again then."""
        images = self._drawn(found.cond, purpose) if found.samples is None else _part(found.samples, part)
        if not bool(images.isfinite().all()):
            raise NumericalError(f"the images of {found.name!r} are not finite; the model or the input is broken.")
        return Seen(images, self.jury.votes(images, self.label))

    def _drawn(self, cond: Tensor, purpose: str) -> Tensor:
        if not bool(cond.isfinite().all()):
            raise NumericalError("the attack offers an input that is not finite; lower its learning rate.")
        rows = in_turn(cond, max(self.each, len(cond)))
        rng = generator(self.seed, f"{self.purpose}/{purpose}")
        return draw(self.model, rows, rng, self.sampling)


def _part(samples: Tensor, part: Part) -> Tensor:
    """The half that chooses or the half that scores, so that no image does both. Both have images of every prompt."""
    images = samples.detach().cpu()
    return {"all": images, "first": images[0::2], "second": images[1::2]}[part]


def _rate(seen: Tensor) -> float:
    return float(seen.float().mean()) if len(seen) else 0.0


def _bound(seen: Tensor) -> Bound:
    return Bound(int(seen.sum()), len(seen))
