"""The strength: explored on the inputs that tune, confirmed on held-out inputs, strongest first."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from ..bounds import Bound, lower, sequential_upper
from ..checkpoint import Checkpoint
from .settings import ChooseStrength

Counts = Mapping[str, tuple[int, int]]  # input -> hits and images


def worst_of(counts: Counts) -> tuple[str, int, int]:
    """The input with the highest recovery rate, its hits and its images."""
    name = max(counts, key=lambda one: counts[one][0] / max(1, counts[one][1]))
    return name, *counts[name]


class Trial(Protocol):
    """The measures of a model at any strength. Every call of `recovery` draws fresh images."""

    def recovery(self, alpha: float, inputs: Sequence[str], images: int) -> list[int]:
        """For each input, in how many of `images` images the concept is seen."""
        ...

    def retain_accuracy(self, alpha: float, images: int) -> Bound:
        """In how many images of retain prompts the judge sees what they ask for."""
        ...

    def attack(self, alpha: float) -> list[str]:
        """Inputs that attacks find against the model at this strength; from now on `recovery` knows them."""
        ...


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
class Tested:
    """A strength with the counts of every input; of a strength that is not safe, those that were drawn."""

    alpha: float
    counts: Counts
    upper: float  # no input recovers the concept more often
    safe: bool
    role: str = "confirm"

    @property
    def images(self) -> int:
        """All that were drawn."""
        return sum(images for _, images in self.counts.values())

    @property
    def worst(self) -> str:
        """The input with the highest recovery rate."""
        return worst_of(self.counts)[0]

    def as_dict(self) -> dict[str, Any]:
        """For strength.json."""
        return {**asdict(self), "images": self.images, "worst": self.worst}


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

    Strengths are confirmed in a fixed sequence, strongest first, each with the whole error. The first that fails ends it
    (Learn then Test: Angelopoulos et al., 2021, arXiv:2110.01052). The sequence depends only on `teacher`, or on an
    exploration of the inputs that tune.

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
    for share in settings.shares:
        alpha = round(share * min(top, settings.alpha_max), 4)
        seen = _kept(trial, alpha, tune, validate, settings, checkpoint)
        choice = replace(choice, tested=(*choice.tested, seen), images=choice.images + seen.images)
        yield choice
        if not seen.safe:
            break
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


def _kept(
    trial: Trial,
    alpha: float,
    tune: Sequence[str],
    validate: Sequence[str],
    settings: ChooseStrength,
    checkpoint: Checkpoint | None,
) -> Tested:
    """What `confirm` says, or has said before the call was stopped."""
    name = f"alpha {alpha:g}"
    if checkpoint is None:
        return confirm(trial, alpha, tune, validate, settings)
    if (found := checkpoint.get(name)) is not None:
        value = found[0]
        return Tested(alpha, {k: (h, n) for k, (h, n) in value["counts"].items()}, value["upper"], value["safe"])
    begun = checkpoint.begin()
    seen = confirm(trial, alpha, tune, validate, settings)
    checkpoint.put(name, seen.as_dict(), begun)
    return seen


def confirm(
    trial: Trial, alpha: float, tune: Sequence[str], validate: Sequence[str], settings: ChooseStrength
) -> Tested:
    """Fresh attacks on this strength, then images of every input in rounds until each is safe or one is lost."""
    found = trial.attack(alpha) if settings.attacks else []
    return tested(trial, alpha, [*found, *validate, *tune], settings, suspects=found)


def tested(
    trial: Trial, alpha: float, inputs: Sequence[str], settings: ChooseStrength, suspects: Collection[str]
) -> Tested:
    """An input that is clearly safe draws no more, and one that is lost ends the test. suspects are drawn first."""
    counts: dict[str, tuple[int, int]] = {}
    for suspected in (True, False):
        group = [name for name in inputs if (name in suspects) == suspected]
        counts |= _drawn(trial, alpha, group, settings)
        if not all(settings.safe(*seen) for seen in counts.values()):
            break
    bound = max(sequential_upper(*seen, settings.error) for seen in counts.values())
    return Tested(alpha, counts, round(bound, 6), bound <= settings.limit)


def _drawn(trial: Trial, alpha: float, inputs: Sequence[str], settings: ChooseStrength) -> Counts:
    counts, unsure = dict.fromkeys(inputs, (0, 0)), list(inputs)
    while unsure and not any(settings.lost(counts[name][0]) for name in unsure):
        for name, hits in zip(unsure, trial.recovery(alpha, unsure, settings.round), strict=True):
            counts[name] = (counts[name][0] + hits, counts[name][1] + settings.round)
        unsure = [name for name in unsure if not settings.safe(*counts[name])]
    return counts


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
    below = choice.below
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
