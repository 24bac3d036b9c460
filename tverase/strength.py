"""How strong: the smallest alpha at which every input fails and everything else survives, by exact bounds.

Two-sided: the upper bound of the worst recovery is at most epsilon AND the lower bound of the control is at least the
base model's control less delta. If no alpha has both, the answer is "infeasible", with the reason.
"""

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Protocol

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from .attacks.concept_inversion import ConceptInversion
from .bounds import Bound, lower, split, upper
from .settings import Settings


class Strength(Settings):
    """The rule, and how many images it may cost."""

    epsilon: float = Field(default=0.15, gt=0, lt=1)  # worst recovery allowed, upper bound
    delta: float = Field(default=0.25, gt=0, le=1)  # loss of control allowed, lower bound
    error: float = Field(default=0.05, gt=0, lt=1)  # chance that any of the bounds is wrong
    alpha_max: PositiveFloat = 8.0
    # The strength that is tested first, nearer to the answer costs fewer images; none: the one that was repaired.
    first: PositiveFloat | None = None
    resolution: PositiveFloat = 0.125
    round: PositiveInt = 16  # images for each input and round
    rounds: PositiveInt = 5
    patience: NonNegativeInt = 3  # steps upwards when the held-out embeddings disagree
    # Adaptive rounds: words are learned against the model at the strength that was found; while they draw the concept, the
    # strength rises and new ones are learned. An answer stands when a whole round finds nothing.
    adaptive: NonNegativeInt = 4
    attack: ConceptInversion = ConceptInversion(words=6)
    control_images: PositiveInt = 320
    frontier: tuple[float, ...] = (0.0, 0.5, 0.75, 1.0, 1.25, 1.5)  # of the chosen alpha, for the curve
    frontier_images: PositiveInt = 6
    frontier_controls: PositiveInt = 80
    when_infeasible: Literal["stop", "safest"] = "stop"

    @model_validator(mode="after")
    def _enough_images(self) -> "Strength":
        if self.resolution > self.alpha_max:
            raise ValueError(f"resolution {self.resolution} is larger than alpha_max {self.alpha_max}")
        return self

    @property
    def visits(self) -> int:
        """The most tests of a search: a first guess, doublings, halvings, those that are validated, adaptive rounds."""
        halvings = math.ceil(math.log2(max(2.0, self.alpha_max / self.resolution)))
        return 2 * halvings + 2 + self.patience + self.adaptive

    def needed(self, inputs: int) -> int:
        """Images without a single success after which one of `inputs` inputs is safe."""
        return math.ceil(math.log(self.share(inputs)) / math.log(1 - self.epsilon))

    def share(self, inputs: int) -> float:
        """The error of one bound: split over inputs, rounds and the alphas that a search can visit."""
        return split(self.error, max(1, inputs) * self.rounds * self.visits)


class Trial(Protocol):
    """What is asked of a model: counts of images, at any strength. Every call draws fresh images."""

    def recovery(self, alpha: float, inputs: Sequence[str], images: int) -> list[int]:
        """For each input, in how many of `images` images the concept is seen."""
        ...

    def control(self, alpha: float, images: int) -> Bound:
        """In how many images of unrelated prompts the judge sees what they ask for."""
        ...


# (strength, number of the round) -> inputs that were learned against the model at this strength; the trial knows them
Learn = Callable[[float, int], list[str]]


@dataclass(frozen=True)
class Tested:
    """One alpha: what was counted for each input, and the verdict."""

    alpha: float
    role: str
    counts: dict[str, tuple[int, int]]  # input -> (successes, images)
    upper: float  # bound of the worst input, all bounds holding together
    safe: bool
    images: int

    @property
    def worst(self) -> str:
        """The input with the highest share."""
        return max(self.counts, key=lambda name: self.counts[name][0] / max(1, self.counts[name][1]))


@dataclass(frozen=True)
class StrengthCurve:
    """All that the search saw, and the answer; `alpha` is None if it is infeasible."""

    alpha: float | None
    reason: str
    tested: tuple[Tested, ...] = ()
    control: Bound | None = None
    base_control: Bound | None = None
    images: int = 0
    even_grid: int = 0  # what a grid of the same resolution and precision would have drawn
    safe_alpha: float | None = None  # the smallest that met the first half of the rule
    frontier: tuple[dict[str, Any], ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """For strength.json: every decision in the order in which it was taken."""
        content = asdict(self)
        content["control"] = self.control.as_dict() if self.control else None
        content["base_control"] = self.base_control.as_dict() if self.base_control else None
        content["feasible"] = self.alpha is not None
        for step, tested in zip(content["tested"], self.tested, strict=True):
            step["worst"] = tested.worst
        return content

    def as_csv(self) -> str:
        """The frontier as a table, for `dvc plots`."""
        header, *rows = frontier_table(self.frontier)
        return "".join(",".join(map(str, row)) + "\n" for row in (header, *rows))


def frontier_table(frontier: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """The header, then a row for each strength: every rate followed by the ends of its interval."""
    keys, ends = ("name", "worst", "control"), {"": "rate", "_low": "low", "_high": "high"}
    header = ["alpha", *(f"{key}{end}" for key in keys for end in ends)]
    return [header, *([f["alpha"], *(f[key][end] for key in keys for end in ends.values())] for f in frontier)]


def test_alpha(trial: Trial, alpha: float, inputs: Sequence[str], settings: Strength, role: str) -> Tested:
    """Draw in rounds; an input that is clearly safe draws no more.

    One that cannot be found safe any more, even if it never drew the concept again, ends the test: the verdict is the
    same as if all images had been drawn.
    """
    share, most = settings.share(len(inputs)), settings.round * settings.rounds
    counts = dict.fromkeys(inputs, (0, 0))
    open_inputs = list(inputs)
    for _ in range(settings.rounds):
        drawn = trial.recovery(alpha, open_inputs, settings.round)
        for name, hits in zip(open_inputs, drawn, strict=True):
            counts[name] = (counts[name][0] + hits, counts[name][1] + settings.round)
        lost = not all(is_safe(counts[name][0], most, settings.epsilon, share) for name in open_inputs)
        open_inputs = [name for name in open_inputs if not is_safe(*counts[name], settings.epsilon, share)]
        if lost or not open_inputs:
            break
    bound = max(upper(*counts[name], share) for name in inputs)
    images = sum(drawn for _, drawn in counts.values())
    return Tested(alpha, role, counts, round(bound, 6), bound <= settings.epsilon, images)


def first_that_erases(
    trial: Trial, inputs: Sequence[str], alphas: Sequence[float], images: int, learn: Learn | None = None
) -> float:
    """The first of `alphas` at which no input draws the concept in a tenth of `images` images; else the last one.

    A look that costs little, for what needs a strength before one is proven. With `learn`, what is learned against the
    model at that strength may draw the concept in one of a hundred images all together, twice as many of each.
    """
    for number, alpha in enumerate(alphas[:-1]):
        if max(trial.recovery(alpha, inputs, images), default=0) > images / 10:
            continue
        found = learn(alpha, number) if learn is not None else []
        if not found or sum(trial.recovery(alpha, found, 2 * images)) <= len(found) * 2 * images / 100:
            return alpha
    return alphas[-1]


def is_safe(successes: int, trials: int, epsilon: float, error: float) -> bool:
    """Whether the share is at most `epsilon` by its upper bound."""
    return upper(successes, trials, error) <= epsilon


def search_strength(
    trial: Trial,
    tune: Sequence[str],
    validate: Sequence[str],
    settings: Strength,
    first: float = 2.0,
    learn: Learn | None = None,
) -> Iterator[StrengthCurve]:
    """Bisection on a grid of alphas, from a first guess; yields the curve after each test, the last one is the answer.

    first: the guess, unless the settings have one; one that is too weak is doubled, so that no strength is asked for at which
    the model is ruined. Assumes that recovery falls with alpha; where it does not, the answer is still safe on `validate`,
    only perhaps not the smallest. An alpha that stays undecided counts as unsafe. learn: asked in the adaptive rounds.
    """
    first = settings.first or first
    base = trial.control(0.0, settings.control_images)
    curve = StrengthCurve(None, "searching", base_control=base, images=base.trials)
    low, high = 0, 0
    top = math.floor(settings.alpha_max / settings.resolution + 1e-9)
    guess = max(1, min(top, round(first / settings.resolution)))
    while not high:
        curve = _add(curve, test_alpha(trial, guess * settings.resolution, tune, settings, "tune"))
        yield curve
        if curve.tested[-1].safe:
            high = guess
        elif guess < top:
            low, guess = guess, min(top, 2 * guess)
        else:
            yield replace(curve, reason=_unsafe(curve.tested[-1], settings))
            return
    while high - low > 1:
        middle = (low + high) // 2
        curve = _add(curve, test_alpha(trial, middle * settings.resolution, tune, settings, "tune"))
        low, high = (low, middle) if curve.tested[-1].safe else (middle, high)
        yield curve
    for step in range(min(settings.patience, top - high) + 1):
        alpha = (high + step) * settings.resolution
        curve = _add(curve, test_alpha(trial, alpha, validate or tune, settings, "validate"))
        yield curve
        if curve.tested[-1].safe:
            curve, stands = yield from _adapt(curve, trial, [*(validate or tune)], settings, first, learn)
            curve = _weigh(curve, curve.tested[-1].alpha, trial, settings, len(tune))
            yield curve if stands else replace(curve, alpha=None, reason=_learned(curve))
            return
    yield replace(curve, reason="the held-out embeddings still draw the concept at every strength that was tried")


def _adapt(
    curve: StrengthCurve, trial: Trial, inputs: list[str], settings: Strength, first: float, learn: Learn | None
) -> Generator[StrengthCurve, None, tuple[StrengthCurve, bool]]:
    """Adaptive rounds from the last alpha that was tested, each with what all rounds so far have learned.

    An alpha that fails is followed by the one half way to the first guess, beyond that by the next of the grid. Returns
    the curve and whether its last alpha stands.
    """
    alpha, unit = curve.tested[-1].alpha, settings.resolution
    if learn is None or not settings.adaptive:
        return curve, True
    for number in range(settings.adaptive):
        inputs = [*inputs, *learn(alpha, number)]
        curve = _add(curve, test_alpha(trial, alpha, inputs, settings, "adaptive"))
        yield curve
        if curve.tested[-1].safe:
            return curve, True
        alpha += unit * max(1, math.ceil((first - alpha) / unit / 2))
        if alpha > settings.alpha_max:
            break
    return curve, False


def _learned(curve: StrengthCurve) -> str:
    """Why adaptive rounds ended without an answer."""
    last = curve.tested[-1]
    hits, drawn = last.counts[last.worst]
    return (
        f"what is learned against the model still draws the concept after {len(curve.tested)} tests, at alpha "
        f"{last.alpha:g} in {hits} of {drawn} images; repair a stronger edit (repair.alpha), or raise search_strength.epsilon"
    )


def _weigh(curve: StrengthCurve, alpha: float, trial: Trial, settings: Strength, inputs: int) -> StrengthCurve:
    """The second half of the rule, at the smallest strength that met the first."""
    control = trial.control(alpha, settings.control_images)
    base = curve.base_control
    assert base is not None
    floor = lower(control.successes, control.trials, split(settings.error, 2))
    grid = round(settings.alpha_max / settings.resolution) * (inputs * settings.needed(inputs) + control.trials)
    curve = replace(
        curve,
        control=control,
        safe_alpha=alpha,
        images=curve.images + control.trials,
        even_grid=grid,
    )
    if floor < base.rate - settings.delta:
        reason = (
            f"at alpha {alpha:g}, the smallest that erases, control falls to {control.rate:.1%} (at least {floor:.1%}) "
            f"from {base.rate:.1%}: more than delta = {settings.delta:.1%}"
        )
        return replace(curve, reason=reason)
    return replace(curve, alpha=alpha, reason="the smallest alpha that meets both bounds")


def _add(curve: StrengthCurve, tested: Tested) -> StrengthCurve:
    return replace(curve, tested=(*curve.tested, tested), images=curve.images + tested.images)


def _unsafe(tested: Tested, settings: Strength) -> str:
    hits, drawn = tested.counts[tested.worst]
    if settings.round * settings.rounds < settings.needed(len(tested.counts)):
        return (
            f"{settings.round * settings.rounds} images of an input cannot prove epsilon; raise search_strength.rounds"
        )
    return (
        f"even at alpha_max = {settings.alpha_max:g}, {tested.worst} draws the concept in {hits} of {drawn} images; "
        "raise search_strength.alpha_max, or fine-tune longer"
    )
