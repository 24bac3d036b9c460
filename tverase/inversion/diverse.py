"""Diverse Inversion: many embeddings at once that each still draw the concept, spread over bins of similarity.

Textual inversion (Gal et al., 2022, arXiv:2208.01618) against the model that still has the concept, under the cosine
constraint of Pham et al. (2024, arXiv:2404.03631, eq. 4 and figure 1). Bins, hinge and acceptance are ours.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from ..errors import NumericalError
from ..losses import denoising_loss, min_snr_weight, random_timesteps
from ..models.base import Model
from ..settings import Settings
from ..spaces import cone
from ..spaces.base import InputSpace

Bin = tuple[float, float]


class Invert(Settings):
    """How embeddings are searched."""

    # Ranges of the cosine to the concept's own embedding. The paper's figure 1 also has bins below zero.
    bins: tuple[Bin, ...] = ((-0.2, 0.0), (0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.95, 0.98))
    per_bin: PositiveInt = 1  # for each of the three sets
    steps: PositiveInt = 120
    batch: PositiveInt = 4  # noised images for each embedding and step
    lr: PositiveFloat = 0.03
    hinge: float = 0.1  # weight of the penalty on embeddings that are alike
    alike: float = Field(default=0.3, ge=-1, le=1)  # cosine across the anchor above which they are
    template: str = "a {}"
    accept: float = Field(default=0.5, ge=0, le=1)  # rate on fresh seeds at which an embedding draws the concept
    images: PositiveInt = 10  # drawn for that decision
    restarts: NonNegativeInt = 0
    chunk: PositiveInt = 96  # noised images in one forward pass; fewer need less memory, the result is the same

    @model_validator(mode="after")
    def _bins_are_ranges(self) -> "Invert":
        for low, high in self.bins:
            if not -1 <= low < high <= 1:
                raise ValueError(f"the bin [{low}, {high}] is not a range of cosines, -1 <= low < high <= 1")
        return self


@dataclass(frozen=True)
class Round:
    """The state after a step: its number, the embeddings and each one's loss; `hits` only at the very end."""

    step: int
    points: Tensor
    losses: Tensor
    attempt: int = 0
    hits: tuple[int, ...] | None = None


def search(
    model: Model,
    space: InputSpace,
    anchor: Tensor,
    bins: Tensor,
    latents: Tensor,
    settings: Invert,
    rng: torch.Generator,
    *,
    begin: Tensor | None = None,
) -> Iterator[Round]:
    """Yields after every step; the last round holds the embeddings (K, E), each inside its bin.

    anchor (E,): the concept's own embedding; bins (K, 2); latents (N, ...) of images that show the concept; begin
    (K, E): where to start instead of at random.
    Only the embeddings are learned. Raises `NumericalError` if a loss stops being a number.
    """
    low, high = bins.T.to(anchor.device)
    start = space.start(anchor, low.cpu(), high.cpu(), rng) if begin is None else begin.clone()
    points = start.requires_grad_()
    optimiser = torch.optim.Adam([points], lr=settings.lr)
    for step in range(settings.steps):
        optimiser.param_groups[0]["lr"] = settings.lr * min(1.0, 2 * (1 - step / settings.steps))
        optimiser.zero_grad()
        losses = _losses(model, space, points, latents, settings, rng)
        crowd = settings.hinge * cone.crowding(points, anchor, settings.alike).sum()
        torch.autograd.backward(crowd)
        if not torch.isfinite(losses).all():
            raise NumericalError(f"a loss of the inversion is not finite at step {step}; lower `invert.lr`.")
        optimiser.step()
        with torch.no_grad():
            points.copy_(cone.project(points, anchor, low, high))
        yield Round(step + 1, points.detach().clone(), losses)


def search_freely(
    model: Model,
    space: InputSpace,
    anchor: Tensor,
    latents: Tensor,
    settings: Invert,
    rng: torch.Generator,
    begin: Tensor,
) -> Iterator[Round]:
    """`search` from `begin` (K, E) without bins, and without a penalty on points that are alike."""
    anywhere = torch.tensor([[-1.0, 1.0]]).expand(len(begin), 2)
    free = settings.model_copy(update={"hinge": 0.0})
    yield from search(model, space, anchor, anywhere, latents, free, rng, begin=begin)


def _losses(
    model: Model, space: InputSpace, points: Tensor, latents: Tensor, settings: Invert, rng: torch.Generator
) -> Tensor:
    """Denoising loss of each embedding (K,); its gradient is added to `points`, chunk by chunk.

    The random numbers are drawn for all embeddings first, so that the chunks' size changes memory and nothing else.
    """
    count, batch, schedule = len(points), settings.batch, model.noise_schedule
    which = torch.randint(len(latents), (count, batch), generator=rng)
    noise = torch.randn(count, batch, *latents.shape[1:], generator=rng)
    timesteps = torch.stack([random_timesteps(batch, schedule, rng) for _ in range(count)])
    found = []
    for rows in torch.split(torch.arange(count), max(1, settings.chunk // batch)):
        clean = latents[which[rows].flatten()]
        cond = space.cond(points[rows]).repeat_interleave(batch, 0)
        when = timesteps[rows].flatten().to(clean.device)
        losses = denoising_loss(model.denoise, schedule, clean, cond, when, noise[rows].flatten(0, 1).to(clean.device))
        each = (losses * min_snr_weight(schedule, when)).view(len(rows), batch).mean(1)
        torch.autograd.backward(each.sum())
        found.append(each.detach())
    return torch.cat(found)


Check = Callable[[Tensor], list[int]]


def invert(
    model: Model,
    space: InputSpace,
    anchor: Tensor,
    bins: Tensor,
    latents: Tensor,
    settings: Invert,
    rng: torch.Generator,
    hits: Check,
) -> Iterator[Round]:
    """`search`, then acceptance, then fresh starts for those that failed, at most `settings.restarts` times.

    hits(points) -> for each embedding, how many of `settings.images` fresh images show the concept. Yields every
    round; the last one has the best embeddings and their hits.
    """
    last = None
    for last in search(model, space, anchor, bins, latents, settings, rng):
        yield last
    assert last is not None  # steps is positive
    points, losses, counts = last.points.clone(), last.losses.clone(), hits(last.points)
    for attempt in range(1, settings.restarts + 1):
        failed = [i for i, count in enumerate(counts) if count < settings.accept * settings.images]
        if not failed:
            break
        for last in search(model, space, anchor, bins[failed], latents, settings, rng):
            yield replace(last, attempt=attempt)
        for i, point, loss, count in zip(failed, last.points, last.losses, hits(last.points), strict=True):
            if count > counts[i]:
                points[i], losses[i], counts[i] = point, loss, count
    yield replace(last, points=points, losses=losses, hits=tuple(counts))
