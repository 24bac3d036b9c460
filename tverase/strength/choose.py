"""The strength: explored on the inputs that tune, confirmed on held-out inputs, strongest first."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from ..bounds import Bound, lower
from ..checkpoint import Checkpoint
from .confirm import Counts, Tested, Trial, confirm, worst_of
from .settings import SPARE, ChooseStrength

STRONGER = 4 / 3  # times the strongest strength: tested if that one is unsafe


@dataclass(frozen=True)
class Explored:
    """A strength that a few images of the inputs that tune were drawn at, without a claim."""

    alpha: float
    counts: Counts

    @property
    def erases(self) -> bool:
        """Whether no input recovers the concept in more than a tenth of its images."""
        return all(hits <= images / 10 for hits, images in self.counts.values())


@dataclass(frozen=True)
class StrengthChoice:
    """Everything that was seen, and the answer; alpha is None if no strength meets both bounds."""

    alpha: float | None = None
    reason: str = "not decided yet"
    teacher: float | None = None
    explored: tuple[Explored, ...] = ()
    tested: tuple[Tested, ...] = ()
    retain: Bound | None = None
    base_retain: Bound | None = None
    images: int = 0
    frontier: tuple[dict[str, Any], ...] = field(default=())

    @property
    def smallest(self) -> float | None:
        """The smallest strength that was confirmed, whatever the retain set loses."""
        return next((tested.alpha for tested in reversed(self.tested) if tested.safe), None)

    @property
    def below(self) -> dict[str, Any] | None:
        """The strength just below the smallest one, the input that recovers the concept there, and how often."""
        if self.smallest is None:
            return None
        failed = [(tested.alpha, tested.counts) for tested in self.tested if not tested.safe]
        failed += [(look.alpha, look.counts) for look in self.explored if not look.erases]
        weaker = [(alpha, counts) for alpha, counts in failed if alpha < self.smallest]
        if not weaker:
            return None
        alpha, counts = max(weaker, key=lambda one: one[0])
        worst, hits, images = worst_of(counts)
        why = f"{worst} recovers the concept in {hits} of {images} images"
        return {"alpha": alpha, "worst": worst, "hits": hits, "images": images, "why": why}

    def as_dict(self) -> dict[str, Any]:
        """For strength.json: every decision in its order."""
        return {
            "alpha": self.alpha,
            "feasible": self.alpha is not None,
            "reason": self.reason,
            "teacher": self.teacher,
            "smallest": self.smallest,
            "below": self.below,
            "explored": [{**asdict(look), "erases": look.erases} for look in self.explored],
            "tested": [tested.as_dict() for tested in self.tested],
            "retain": self.retain.as_dict() if self.retain else None,
            "base_retain": self.base_retain.as_dict() if self.base_retain else None,
            "images": self.images,
            "frontier": list(self.frontier),
        }


def choose(
    trial: Trial,
    tune: Sequence[str],
    validate: Sequence[str],
    settings: ChooseStrength,
    teacher: float | None = None,
    checkpoint: Checkpoint | None = None,
) -> Iterator[StrengthChoice]:
    """Yields the choice after each strength; the last one is the answer.

    Strengths are confirmed in a fixed sequence, strongest first, each with 99% of the error. The first that fails ends it
    (Learn then Test: Angelopoulos et al., 2021, arXiv:2110.01052). The sequence depends only on `teacher`, or on an
    exploration of the inputs that tune. Its first two tests are of the strongest: at epsilon, and at `confirm_at` of it.
    The second failing, the strongest is still the answer. The first failing, a stronger one is tested with the rest of
    the error (the fallback procedure: Wiens, 2003).

    The bound of an input holds at every interim analysis (`sequential_upper`), and a strength is safe if its worst input is.
    So the error is split over neither. checkpoint: keeps confirmed strengths, so that a stopped call continues.
    """
    base = trial.retain_accuracy(0.0, settings.retain_images)
    choice = StrengthChoice(teacher=teacher, base_retain=base, images=base.trials)
    top = teacher
    if top is None:
        for look in explore(trial, tune, settings):
            drawn = sum(images for _, images in look.counts.values())
            choice = replace(choice, explored=(*choice.explored, look), images=choice.images + drawn)
            yield choice
        erasing = [look.alpha for look in choice.explored if look.erases]
        if not erasing:
            yield replace(choice, reason=_never(choice.explored[-1], settings))
            return
        top = 2 * min(erasing)
    sequence = [round(share * min(top, settings.alpha_max), 4) for share in settings.shares]

    def at(alpha: float, part: float, *limits: float) -> StrengthChoice:
        rule = settings.model_copy(update={"error": part * settings.error})
        seen = _kept(alpha, partial(confirm, trial, alpha, tune, validate, rule, limits), checkpoint)
        return replace(choice, tested=(*choice.tested, seen), images=choice.images + seen.images)

    for alpha in sequence:
        yield (choice := at(alpha, 1 - SPARE, settings.limit, *([] if choice.tested else [settings.epsilon])))
        if not choice.tested[-1].safe or choice.tested[-1].limit > settings.limit:
            break
    stronger = round(min(STRONGER * sequence[0], settings.alpha_max), 4)
    if not choice.tested[0].safe and stronger > sequence[0]:
        yield (choice := at(stronger, SPARE, settings.epsilon))
    yield _weighed(trial, choice, settings)


def explore(trial: Trial, inputs: Sequence[str], settings: ChooseStrength) -> Iterator[Explored]:
    """Strengths up to and around the smallest at which `inputs` fail: doubling, then bisection."""
    unit = settings.resolution
    top, low, high = int(settings.alpha_max / unit + 1e-9), 0, max(1, round(2.0 / unit))

    def at(step: int) -> Explored:
        hits = trial.recovery(step * unit, inputs, settings.explore)
        counts = {name: (count, settings.explore) for name, count in zip(inputs, hits, strict=True)}
        return Explored(step * unit, counts)

    high = min(high, top)
    while not (look := at(high)).erases:
        yield look
        if high == top:
            return
        low, high = high, min(2 * high, top)
    yield look
    while high - low > 1:
        middle = (low + high) // 2
        yield (look := at(middle))
        low, high = (low, middle) if look.erases else (middle, high)


def _kept(alpha: float, test: Callable[[], Tested], checkpoint: Checkpoint | None) -> Tested:
    """What `test` says, or has said before the call was stopped."""
    name = f"alpha {alpha:g}"
    if checkpoint is None:
        return test()
    if (found := checkpoint.get(name)) is not None:
        value = found[0]
        counts = {name: (hits, images) for name, (hits, images) in value["counts"].items()}
        return Tested(alpha, counts, value["upper"], value["safe"], value["limit"])
    begun = checkpoint.begin()
    seen = test()
    checkpoint.put(name, seen.as_dict(), begun)
    return seen


def _weighed(trial: Trial, choice: StrengthChoice, settings: ChooseStrength) -> StrengthChoice:
    """The second bound, at the smallest strength that was confirmed."""
    alpha, base = choice.smallest, choice.base_retain
    if alpha is None or base is None:
        failed = choice.tested[-1]
        worst, hits, images = worst_of(failed.counts)
        reason = (
            f"at alpha {failed.alpha:g}, the strongest that is tried, {worst} recovers the concept in {hits} of {images} "
            "images; raise harden.clean_rounds with harden.max_rounds, or harden.teacher, or choose_strength.epsilon"
        )
        return replace(choice, reason=reason)
    retain = trial.retain_accuracy(alpha, settings.retain_images)
    floor = lower(retain.successes, retain.trials, settings.error)
    choice = replace(choice, retain=retain, images=choice.images + retain.trials)
    if floor < base.rate - settings.delta:
        return replace(
            choice,
            reason=f"at alpha {alpha:g}, the smallest that erases, retain accuracy falls to {retain.rate:.1%} (at least "
            f"{floor:.1%}) from {base.rate:.1%}: more than delta = {settings.delta:.1%}",
        )
    last, below = choice.tested[-1], choice.below
    if last.limit > settings.limit:
        worst, hits, images = worst_of(last.counts)
        rest = f"; at {below['alpha']:g}, {below['why']}" if below else ", so no smaller one was tried"
        reason = (
            f"{alpha:g}, the strongest that is tried, was confirmed at the whole of epsilon ({worst} recovers the concept in "
            f"{hits} of {images} images){rest}"
        )
        return replace(choice, alpha=alpha, reason=reason)
    why = f"; at {below['alpha']:g}, {below['why']}" if below else "; no smaller one was tried"
    return replace(choice, alpha=alpha, reason=f"{alpha:g} is the smallest strength that was confirmed{why}")


def _never(strongest: Explored, settings: ChooseStrength) -> str:
    worst, hits, images = worst_of(strongest.counts)
    return (
        f"even at alpha_max = {settings.alpha_max:g}, {worst} recovers the concept in {hits} of {images} images; raise "
        "choose_strength.alpha_max, or fine-tune longer"
    )


def frontier_table(frontier: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """The header, then a row for each strength: every rate followed by the ends of its interval."""
    keys, ends = ("name", "worst", "retain"), {"": "rate", "_low": "low", "_high": "high"}
    header = ["alpha", *(f"{key}{end}" for key in keys for end in ends)]
    return [header, *([f["alpha"], *(f[key][end] for key in keys for end in ends.values())] for f in frontier)]


def as_csv(frontier: Sequence[Mapping[str, Any]]) -> str:
    """The same as CSV, for `dvc plots`."""
    return "".join(",".join(map(str, row)) + "\n" for row in frontier_table(frontier))
