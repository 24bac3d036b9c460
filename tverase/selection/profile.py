"""A strength for each group by gradient: as much push as the whole edit has on the concept, with less harm elsewhere.

theta(beta) = theta_0 - sum_g beta_g tau_g, beta >= 0. What is learned is beta alone, a few numbers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from ..errors import Infeasible, NumericalError
from ..losses import random_timesteps
from ..models.base import Model
from ..rng import generator, pick
from ..settings import Settings
from ..vector import TaskVector
from .base import Selection
from .groups import Grain, groups


class Profile(Settings):
    """How the strengths are found."""

    groups: Grain = "both"
    steps: PositiveInt = 100
    batch: PositiveInt = 8  # noised images of the concept, and as many of everything else
    lr: PositiveFloat = 0.05  # of strengths that begin at 1
    margin: PositiveFloat = 1.0  # the push that is enough, as a share of the whole edit's
    hold: PositiveFloat = 0.5  # weight of the harm; at 1 it would pay to edit nothing


@dataclass(frozen=True)
class Examples:
    """Latents (N, ...) and conditionings (M, T, D): of each concept, any may go with any; row i of control belongs to row i."""

    concepts: Sequence[tuple[Tensor, Tensor]]
    control: tuple[Tensor, Tensor]

    def batch(self, step: int, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """`count` pairs of a concept, the concepts taking turns, then `count` of control."""
        (latents, cond), (kept, captions) = self.concepts[step % len(self.concepts)], self.control
        images, inputs = (pick(count, len(among), rng) for among in (latents, cond))
        rows = pick(count, len(kept), rng)
        return torch.cat([latents[images], kept[rows]]), torch.cat([cond[inputs], captions[rows]])


@dataclass(frozen=True)
class _Strengths:
    """The numbers that are learned, one a group, and which of them each parameter has."""

    values: Tensor
    place: Mapping[str, int]

    def applied(self, model: Model, delta: Mapping[str, Tensor], alpha: float) -> Model:
        """theta(beta), differentiable in `values`; beta is `values` times alpha."""
        base = model.weights()
        edited = {
            key: (base[key].float() - alpha * self.values[self.place[key]] * change).to(base[key].dtype)
            for key, change in delta.items()
        }
        return model.with_weights({**base, **edited})


def profile(
    model: Model, vector: TaskVector, examples: Examples, alpha: float, settings: Profile, seed: int
) -> Iterator[Selection]:
    """Yields the selection after each step; the last one is the answer, as strengths of an edit at `alpha`.

    How strong the whole has to be is left to the search of the strength. Raises `Infeasible` if nothing stays edited,
    `NumericalError` if the loss stops being a number.
    """
    base = model.weights()
    delta = {key: change.to(base[key].device) for key, change in vector.delta.items()}
    named = list(groups(delta, settings.groups))
    place = {key: named.index(group) for group, keys in groups(delta, settings.groups).items() for key in keys}
    values = torch.ones(len(named), device=next(iter(delta.values())).device, requires_grad=True)
    learned = _Strengths(values, place)
    whole = model.with_weights(vector.apply(base, alpha))
    optimiser = torch.optim.Adam([values], lr=settings.lr)
    selection = Selection.everything(delta, settings.groups)
    for step in range(settings.steps):
        rng = generator(seed, f"select/profile/{step}")
        clean, cond = examples.batch(step, settings.batch, rng)
        student = learned.applied(model, delta, alpha)
        short, harm = _short_and_harm(student, model, whole, clean, cond, settings, rng)
        loss = short + settings.hold * harm
        if not torch.isfinite(loss):
            raise NumericalError(f"the loss of the profile is {loss.item()} at step {step}; lower `select.alpha`.")
        optimiser.param_groups[0]["lr"] = settings.lr * min(1.0, 2 * (1 - step / settings.steps))
        (values.grad,) = torch.autograd.grad(loss, values)
        optimiser.step()
        with torch.no_grad():
            values.clamp_(min=0)
        found = {group: round(value, 3) for group, value in zip(named, values.tolist(), strict=True)}
        selection = Selection(settings.groups, found, selection.decisions)
        selection = selection.noting(step=step + 1, short=round(short.item(), 4), harm=round(harm.item(), 4))
        yield selection
    if not selection.edited:
        raise Infeasible(
            "the profile left nothing edited: no group pushes the concept more than it harms everything else; lower "
            "select.profile.hold, or choose another select.how."
        )


def _short_and_harm(
    student: Model, base: Model, whole: Model, clean: Tensor, cond: Tensor, settings: Profile, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """How far the concept's push falls short of the margin, and the harm to control; the whole edit has 0 and 1.

    Both in squared distances from the base model's predictions. A denoiser that fits is right on average, so that its
    error on the concept's images rises by just this distance, without the noise of the error itself.
    """
    process, half = base.noise, len(clean) // 2
    timesteps = torch.cat([random_timesteps(half, process.timesteps, rng) for _ in range(2)]).to(clean.device)
    noised = process.corrupt(clean, timesteps, torch.randn(clean.shape, generator=rng).to(clean.device))
    with torch.no_grad():
        before = base.denoise(noised, timesteps, cond)
        far = _apart(whole.denoise(noised, timesteps, cond), before)
    moved = _apart(student.denoise(noised, timesteps, cond), before)
    push = moved[:half] / far[:half].clamp(min=_TINY)
    weight = process.weight(timesteps)[half:]
    harm = (weight * moved[half:]).mean() / (weight * far[half:]).mean().clamp(min=_TINY)
    return (settings.margin - push).clamp(min=0).mean(), harm


_TINY = 1e-12  # a vector that is zero moves nothing


def _apart(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).square().flatten(1).mean(1)
