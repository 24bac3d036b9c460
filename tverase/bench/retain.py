"""What a row costs: the retain loss near the concept and far from it, beside the base model."""

from collections.abc import Sequence
from typing import Any

import torch

from ..bounds import Bound, paired_difference
from ..concepts import Concept, Prompt, halves, spread
from ..judges.base import Judge
from ..models.base import Meter, Model
from ..retention import kept, thumbnails
from ..rng import generator
from ..sampling import draw
from .case import Case
from .cell import Place
from .rows import Row, open_row

SETS = ("near", "far")


def retained(case: Case, row: Row, place: Place) -> dict[str, Any]:
    """Both models on the scoring half of the retain set, from the same noise.

    The first judge looks for a prompt's labels, as in the report. What the second one says of the same images is written beside.
    """
    meter = Meter()
    there = open_row(case, row, place.material, place.edit, meter)
    found: dict[str, Any] = {}
    for name, prompts in divided(case.named, case.budget.retain, case.seed).items():
        found[name] = _compared(case, there.model, case.base(Meter()), prompts, name) if prompts else None
    return {**found, "cost": {"score": meter.evaluations}}


def divided(concept: Concept, count: int, seed: int) -> dict[str, Sequence[Prompt]]:
    """`count` scoring prompts: half of them of the concept's neighbours, half of everything else; each set may be empty."""
    _, scoring = halves([concept])
    near = [prompt for prompt in scoring if set(prompt.labels) & set(concept.neighbours)]
    far = [prompt for prompt in scoring if not set(prompt.labels) & set(concept.neighbours)]
    share = count // 2 if near and far else count
    rng = generator(seed, f"bench/{concept.name}/retain prompts")
    return {name: spread(some, share, rng) if some else () for name, some in zip(SETS, (near, far), strict=True)}


def _compared(case: Case, model: Model, base: Model, prompts: Sequence[Prompt], name: str) -> dict[str, Any]:
    texts = [prompt.text for prompt in prompts]
    purpose = f"bench/{case.named.name}/retain/{name}"

    def drawn(which: Model) -> torch.Tensor:
        return draw(which, which.encode(texts), generator(case.seed, purpose), case.sampling)

    before, after = drawn(base), drawn(model)
    reference = thumbnails(before)
    first, *others = (
        _loss(kept(before, prompts, judge, reference), _whole(after, prompts, judge, reference))
        for judge in case.jury.judges
    )
    return {**first, "second_judge": others[0] if others else None}


def _whole(images: torch.Tensor, prompts: Sequence[Prompt], judge: Judge, reference: torch.Tensor) -> torch.Tensor:
    """What is kept; an image that is not finite shows nothing."""
    sound = images.isfinite().flatten(1).all(1)
    return kept(images.nan_to_num(), prompts, judge, reference) & sound


def _loss(base: torch.Tensor, mine: torch.Tensor) -> dict[str, Any]:
    lost, won, count = int((base & ~mine).sum()), int((~base & mine).sum()), len(base)
    low, high = paired_difference(lost, won, count)
    return {
        "base": Bound(int(base.sum()), count).as_dict(),
        "row": Bound(int(mine.sum()), count).as_dict(),
        "lost": lost,
        "won": won,
        "loss": round((lost - won) / count, 4),
        "loss_low": round(low, 4),
        "loss_high": round(high, 4),
    }
