"""Diverse Inversion: many embeddings at once that each still draw the concept, spread over bins of similarity.

Textual inversion (Gal et al., 2022, arXiv:2208.01618) against the model that still has the concept, under the cosine
constraint of Pham et al. (2024, arXiv:2404.03631, eq. 4 and figure 1). Bins, hinge and acceptance are ours.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from ..errors import NumericalError
from ..losses import denoising_loss, random_timesteps
from ..models.base import Model
from ..settings import Settings
from ..spaces import cone
from ..spaces.base import InputSpace
from .fitting import in_chunks
from .kept import Kept
from .moving import Moving

_NOT_FINITE = (
    "a loss of the inversion or its gradient is not finite at step {}; lower `invert.lr`, or the `lr` of the attack that runs "
    "here (harden, choose_strength and evaluate have one each)."
)
Bin = tuple[float, float]
WHOLE: dict[str, Any] = {"noise": (0.0, 1.0), "weigh": "min_snr"}  # every timestep, weighed as in training
Check = Callable[[Tensor, int], list[int]]  # (points, attempt) -> in how many of `images` images each draws it
Look = Callable[
    [int, Tensor], Tensor
]  # (step, points (n, E)) -> which draw it in all of `look` images (n,), on any device


class Invert(Settings):
    """How embeddings are searched."""

    # Ranges of the cosine to the concept's own embedding. The paper's figure 1 also has bins below zero.
    bins: tuple[Bin, ...] = ((-0.2, 0.0), (0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.95, 0.98))
    per_bin: PositiveInt = 1  # for each of the three sets
    steps: PositiveInt = 60
    # One that draws the concept in all of `look` images, looked for now and then, leaves the search: the others go on
    # alone. No look, and all take every step.
    look: NonNegativeInt = 4
    look_every: PositiveInt = 20
    batch: PositiveInt = 2  # noised images for each embedding and step
    # The part of the timesteps that is learned from, 0 clean and 1 pure noise, and how an error weighs. What an image shows
    # is decided where there is much noise: steps below teach little, and min-SNR weighs there next to nothing.
    noise: tuple[float, float] = (0.4, 1.0)
    weigh: Literal["evenly", "min_snr"] = "evenly"
    lr: PositiveFloat = 0.03
    hinge: float = 0.1  # weight of the penalty on embeddings that are alike
    alike: float = Field(default=0.3, ge=-1, le=1)  # cosine across the anchor above which they are
    template: str = ""  # the prompt that a free token stands in; empty: the concept's own
    # tokens: free words in the template; states: all that the text encoder says of a prompt, whether or not words can.
    space: Literal["tokens", "states"] = "tokens"
    tokens: PositiveInt = 1  # free words, side by side
    accept: float = Field(default=0.5, ge=0, le=1)  # rate on fresh seeds at which an embedding draws the concept
    images: PositiveInt = 10  # drawn for that decision
    restarts: NonNegativeInt = 0
    # Most noised images in one forward pass; fewer need less memory, the result is the same. What does not fit is halved.
    chunk: PositiveInt = 96

    @model_validator(mode="after")
    def _bins_are_ranges(self) -> "Invert":
        for low, high in self.bins:
            if not -1 <= low < high <= 1:
                raise ValueError(f"the bin [{low}, {high}] is not a range of cosines, -1 <= low < high <= 1")
        if len(set(self.bins)) < len(self.bins):
            raise ValueError("a bin is given twice; per_bin asks for several embeddings in each")
        return self

    @model_validator(mode="after")
    def _noise_is_a_range(self) -> "Invert":
        if not 0 <= self.noise[0] < self.noise[1] <= 1:
            raise ValueError(f"noise {list(self.noise)} is not a part of the timesteps, 0 <= low < high <= 1")
        return self

    @model_validator(mode="after")
    def _words_have_a_number(self) -> "Invert":
        if self.space == "states" and self.tokens > 1:
            raise ValueError(
                "tokens counts free words, and space: states has none; leave it at 1, or set space: tokens"
            )
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
    start = _start(space, anchor, bins, rng) if begin is None else begin.clone()
    yield from _advance(model, space, anchor, bins, latents, settings, rng, Moving(start))


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


def _start(space: InputSpace, anchor: Tensor, bins: Tensor, rng: torch.Generator) -> Tensor:
    low, high = bins.T.cpu()
    return space.start(anchor, low, high, rng)


def _advance(
    model: Model,
    space: InputSpace,
    anchor: Tensor,
    bins: Tensor,
    latents: Tensor,
    settings: Invert,
    rng: torch.Generator,
    moving: Moving,
    kept: Kept | None = None,
    draws: Look | None = None,
) -> Iterator[Round]:
    """The steps that are left of a search; `kept` is told of each, and of the state before one that failed."""
    low, high = bins.T.to(anchor.device)
    points = moving.points
    if moving.over(settings.steps):
        yield Round(moving.step, points.detach().clone(), moving.losses)
    while not moving.over(settings.steps):
        before = rng.get_state()
        moving.optimiser.param_groups[0]["lr"] = settings.lr * min(1.0, 2 * (1 - moving.step / settings.steps))
        moving.optimiser.zero_grad()
        losses = _losses(model, space, moving, latents, settings, rng)
        crowd = settings.hinge * cone.crowding(points, anchor, settings.alike).sum()
        torch.autograd.backward(crowd)
        if not moving.finite(losses):
            if kept is not None:
                rng.set_state(before)
                kept.save(moving)
            raise NumericalError(_NOT_FINITE.format(moving.step))
        moving.advance(losses)
        with torch.no_grad():
            points.copy_(cone.project(points, anchor, low, high))
        if draws is not None and _look_is_due(moving.step, settings):
            staying = ~moving.left
            moving.left[staying] = draws(moving.step, points.detach()[staying]).to(moving.left.device)
        if kept is not None:
            kept.leave(moving, settings.steps)
        yield Round(moving.step, points.detach().clone(), moving.losses)


def _look_is_due(step: int, settings: Invert) -> bool:
    """Whether who draws the concept may leave after this step; after the last one acceptance follows anyway."""
    return bool(settings.look) and step % settings.look_every == 0 and step < settings.steps


def _losses(
    model: Model, space: InputSpace, moving: Moving, latents: Tensor, settings: Invert, rng: torch.Generator
) -> Tensor:
    """Denoising loss of each embedding (K,), 0 of those that left; its gradient is added to the points, chunk by chunk.

    The random numbers are drawn for all embeddings first, so that neither the chunks' size nor who left changes those
    of the others.
    """
    points, staying = moving.points, (~moving.left).nonzero().flatten().cpu()
    count, batch, process = len(points), settings.batch, model.noise
    which = torch.randint(len(latents), (count, batch), generator=rng)
    noise = torch.randn(count, batch, *latents.shape[1:], generator=rng)
    timesteps = torch.stack([random_timesteps(batch, process.timesteps, rng, settings.noise) for _ in range(count)])
    found = points.new_zeros(count)

    def add(rows: Tensor, images: Tensor) -> None:
        part = rows[:, None], images
        clean, when = latents[which[part].flatten()], timesteps[part].flatten().to(latents.device)
        cond = space.cond(points[rows]).repeat_interleave(len(images), 0)
        mixed = noise[part].flatten(0, 1).to(clean.device)
        losses = denoising_loss(model.denoise, process, clean, cond, when, mixed)
        if settings.weigh == "min_snr":
            losses = losses * process.weight(when)
        each = losses.view(len(rows), len(images)).mean(1) * (len(images) / batch)
        torch.autograd.backward(each.sum())  # the points' own gradient comes last: what fails has added nothing
        found[rows] += each.detach()

    moving.chunk = in_chunks(staying, batch, moving.chunk or settings.chunk, model.meter, add)
    return found


def invert(
    model: Model,
    space: InputSpace,
    anchor: Tensor,
    bins: Tensor,
    latents: Tensor,
    settings: Invert,
    rng: torch.Generator,
    hits: Check,
    checkpoint: Path | None = None,
    looks: Callable[[int], Look] | None = None,
) -> Iterator[Round]:
    """`search`, then acceptance, then fresh starts for those that failed, at most `settings.restarts` times.

    hits(points, attempt) -> for each embedding, how many of `settings.images` fresh images show the concept. looks(attempt) ->
    who may leave the search. Yields every round; the last one has the best embeddings and their hits. With `checkpoint` it
    resumes exactly; then the first round is the first that was not kept.
    """
    kept = Kept.of(checkpoint, rng, model.meter, len(bins), anchor)
    needed = settings.accept * settings.images
    while kept.attempt <= settings.restarts and (slots := kept.open(needed)):
        moving = kept.moving or Moving(_start(space, anchor, bins[slots], rng))
        last = None
        draws = None if looks is None else looks(kept.attempt)
        for last in _advance(model, space, anchor, bins[slots], latents, settings, rng, moving, kept, draws):
            yield replace(last, attempt=kept.attempt)
        assert last is not None  # steps is positive
        kept.judged(slots, last.points, last.losses, hits(last.points, kept.attempt))
    best = kept.best
    assert best is not None  # the first attempt judges all of them
    yield Round(settings.steps, best.points, best.losses, hits=best.hits)
