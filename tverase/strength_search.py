"""The search for alpha: bisection, acceptance on held-out inputs, adaptive rounds; every decision is kept."""

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

from .bounds import lower, split
from .strength import Learn, Mend, Strength, StrengthCurve, Tested, Trial, Weighed, test_alpha


def search_strength(
    trial: Trial,
    tune: Sequence[str],
    validate: Sequence[str],
    settings: Strength,
    first: float = 2.0,
    learn: Learn | None = None,
    repaired: float | None = None,
    mend: Mend | None = None,
) -> Iterator[StrengthCurve]:
    """Bisection on a grid of alphas, from a first guess; yields the curve after each test, the last one is the answer.

    repaired: the strength at which the vector was repaired, if it was; the margin goes towards it. The first guess is the
    settings', or else that one, or else `first`; one that is too weak is doubled, so that no strength is asked for at which
    the model is ruined. Assumes that recovery falls with alpha; where it does not, the answer is still safe on `validate`,
    only perhaps not the smallest. An alpha that stays undecided counts as unsafe. learn: asked in the adaptive rounds. mend:
    asked when what they learn draws the concept, before a larger alpha is tried.
    """
    base = trial.control(0.0, settings.control_images)
    curve = StrengthCurve(None, "searching", base_control=base, images=base.trials)
    attacker = learn if settings.adaptive and settings.attacks else None
    inputs = list(tune), list(validate)
    search = _Search(trial, *inputs, settings, settings.first or repaired or first, attacker, repaired, mend, curve)
    yield from search.run()


@dataclass
class _Search:
    """Where a search is: the curve so far, and what was learned on the way."""

    trial: Trial
    tune: list[str]
    validate: list[str]
    settings: Strength
    first: float
    learn: Learn | None
    repaired: float | None
    mend: Mend | None
    curve: StrengthCurve
    learned: tuple[str, ...] = ()
    rounds: int = 0  # that have learned something

    @property
    def last(self) -> Tested:
        return self.curve.tested[-1]

    @property
    def top(self) -> int:
        """The largest alpha, in steps of the grid."""
        return math.floor(self.settings.alpha_max / self.settings.resolution + 1e-9)

    def run(self) -> Iterator[StrengthCurve]:
        low, high = yield from self._bracket()
        if not high:
            yield replace(self.curve, reason=self._unsafe())
            return
        high = yield from self._bisect(low, high)
        if self.last.role != "adaptive" or self.last.safe:
            yield from self._accept(high)
            if not self.last.safe:
                reason = "the held-out embeddings still draw the concept at every strength that was tried"
                yield replace(self.curve, reason=reason)
                return
        yield from self._climb()
        curve = self._weighed(self.last.alpha)
        yield curve if self.last.safe else replace(curve, alpha=None, reason=self._found())

    def _test(self, alpha: float, inputs: Sequence[str], role: str, suspects: Sequence[str] = ()) -> StrengthCurve:
        tested = test_alpha(self.trial, alpha, inputs, self.settings, role, suspects)
        images = self.curve.images + tested.images
        self.curve = replace(self.curve, tested=(*self.curve.tested, tested), images=images)
        return self.curve

    def _attack(self, alpha: float, also: Sequence[str] = (), role: str = "adaptive") -> StrengthCurve:
        """A round: what is learned against the model at `alpha`, and all that was learned before.

        First comes what is new, and whatever drew the concept in the last test.
        """
        assert self.learn is not None
        new = self.learn(alpha, self.rounds)
        self.learned = (*self.learned, *new)
        self.rounds += 1
        suspects = [*new, *(name for name, (hits, _) in self.last.counts.items() if hits)]
        return self._test(alpha, [*also, *self.learned], role, suspects)

    def _bracket(self) -> Generator[StrengthCurve, None, tuple[int, int]]:
        """Two strengths of the grid, the first unsafe or nothing, the second safe; it is 0 if there is none."""
        unit, low = self.settings.resolution, 0
        guess = max(1, min(self.top, round(self.first / unit)))
        while True:
            yield self._test(guess * unit, self.tune, "tune")
            if self.last.safe:
                return low, guess
            if guess == self.top:
                return guess, 0
            low, guess = guess, min(self.top, 2 * guess)

    def _bisect(self, low: int, high: int) -> Generator[StrengthCurve, None, int]:
        """The smallest safe strength between the two.

        The first one that is found safe is attacked at once: if what is learned there brings the concept back, no weaker
        one need be looked for. Nor is one of a repaired vector, where the rest gains little by it, and what stands further
        down has only been lucky in what was learned against it; none is tried that its margin could not make up.
        """
        unit, weakest = self.settings.resolution, self._weakest()
        if weakest >= high and self.settings.first is not None:
            weakest = 0  # whoever asks for a weaker one has it
        low = max(low, min(weakest, high) - 1)
        while high - low > 1:
            middle = max(weakest, high // 2) if low < weakest else (low + high) // 2
            yield self._test(middle * unit, self.tune, "tune")
            low, high = (low, middle) if self.last.safe else (middle, high)
            if self.last.safe and self.learn is not None and not self.rounds:
                yield self._attack(high * unit)
                if not self.last.safe or self.repaired is not None:
                    break
        return high

    def _weakest(self) -> int:
        """Of a repaired vector, the weakest strength that with its margin is not below `least`, in steps of the grid."""
        settings = self.settings
        if self.repaired is None or settings.least <= settings.margin:
            return 0
        share = (settings.least - settings.margin) / (1 - settings.margin)
        return math.ceil(share * self.repaired / settings.resolution - 1e-9)

    def _lowest(self, found: float) -> bool:
        """Whether nothing weaker was tried, because its margin could not make it up."""
        return 0 < self._weakest() == round(found / self.settings.resolution)

    def _accept(self, high: int) -> Iterator[StrengthCurve]:
        """A few steps upwards, while the held-out inputs disagree; without any, what tunes has to fail once more."""
        inputs, role = (self.validate, "validate") if self.validate else (self.tune, "tune")
        for step in range(min(self.settings.patience, self.top - high) + 1):
            yield self._test((high + step) * self.settings.resolution, inputs, role)
            if self.last.safe:
                return

    def _climb(self) -> Iterator[StrengthCurve]:
        """Adaptive rounds until one finds nothing.

        What breaks an alpha is held by a vector that is repaired again, once at each alpha and so often as the settings allow.
        Otherwise the alpha that fails is followed by the one half way to the first guess, beyond that by the next of the grid.
        """
        if self.learn is None:
            return
        rounds, mended, unit = self.settings.adaptive, 0.0, self.settings.resolution
        while rounds:
            alpha, role = self.last.alpha, "adaptive"
            if not self.last.safe and alpha != mended and self._mended():
                mended, role = alpha, "mended"
            else:
                rounds -= 1
                if not self.last.safe:
                    step = max(1, math.ceil((self.first - alpha) / unit / 2))
                    alpha = min(self.top, round(alpha / unit) + step) * unit
                    if alpha <= self.last.alpha:
                        return
            # Nothing has been shown of a vector that was repaired again.
            also = [*dict.fromkeys([*self.tune, *self.validate])] if self.curve.mends else self.validate
            yield self._attack(alpha, also, role)
            if self.last.safe:
                return

    def _mended(self) -> bool:
        """Whether the vector was repaired again, to hold the learned words that broke the last test.

        These are the ones that could not have become safe any more, and with them whatever has more than half of `epsilon`.
        """
        settings, counts = self.settings, self.last.counts
        if self.mend is None or self.curve.mends >= settings.mends:
            return False
        hits = {name: counts[name] for name in self.learned if name in counts}
        lost = [name for name, (seen, _) in hits.items() if settings.lost(seen)]
        if not lost:
            return False
        held = lost + [n for n, (seen, drawn) in hits.items() if n not in lost and seen > drawn * settings.epsilon / 2]
        self.mend(held)
        self.curve = replace(self.curve, mends=self.curve.mends + 1, held=(*self.curve.held, tuple(held)))
        return True

    def _weighed(self, found: float) -> StrengthCurve:
        """The second half of the rule: at the smallest strength that met the first and its margin, or with less of a margin."""
        choices = self._with_margin(found)
        for alpha in choices:
            weighed = self._kept(found, alpha, len(choices))
            self.curve = self._with(weighed, found)
            if not weighed.fault:
                return replace(self.curve, alpha=alpha, reason=self._reason(found, alpha))
        return replace(self.curve, reason=weighed.fault)

    def _with(self, weighed: Weighed, found: float) -> StrengthCurve:
        """The curve with what was weighed."""
        settings, control = self.settings, weighed.control
        grid = round(settings.alpha_max / settings.resolution) * (len(self.tune) * settings.needed + control.trials)
        images = self.curve.images + control.trials
        every = (*self.curve.weighed, weighed)
        return replace(self.curve, control=control, safe_alpha=found, images=images, even_grid=grid, weighed=every)

    def _reason(self, found: float, alpha: float) -> str:
        reason = "the smallest alpha that meets both bounds" + (
            ", of those that are tried" if self._lowest(found) else ""
        )
        if alpha > found:
            settings, whole = self.settings, f"the strength that was repaired, {self.repaired:g}"
            least = f", and at least to {settings.least:.0%} of that" if settings.least else ""
            reason = (
                f"{found:g} is {reason}; added is a margin of {settings.margin:.0%} of the way up to {whole}{least}"
            )
        if self.curve.mends:
            reason += "; the vector was repaired again, to hold words that were learned against it and drew the concept"
        return reason

    def _with_margin(self, found: float) -> list[float]:
        """What is found with its margin, with less of it, and without, on the grid and without repetition."""
        if self.repaired is None or self.repaired <= found or not self.last.safe:
            return [found]
        unit, margin = self.settings.resolution, found + self.settings.margin * (self.repaired - found)
        wanted = max(margin, self.settings.least * self.repaired), margin
        grid = [min(self.top, math.ceil(alpha / unit - 1e-9)) * unit for alpha in wanted if alpha > found]
        return list(dict.fromkeys([*grid, found]))

    def _kept(self, found: float, alpha: float, choices: int) -> Weighed:
        """The control at `alpha`, one of so many `choices`, and why that is too little, if it is."""
        settings, base = self.settings, self.curve.base_control
        assert base is not None
        control = self.trial.control(alpha, settings.control_images)
        floor = lower(control.successes, control.trials, split(settings.error, 2 * choices))
        if floor >= base.rate - settings.delta:
            return Weighed(alpha, control, round(floor, 6), "")
        weaker = "; search_strength.least = 0 looks for a weaker one" if self._lowest(found) else ""
        which = ", the smallest that erases," if alpha == found else ""
        fault = (
            f"at alpha {alpha:g}{which} control falls to {control.rate:.1%} (at least {floor:.1%}) "
            f"from {base.rate:.1%}: more than delta = {settings.delta:.1%}{weaker}"
        )
        return Weighed(alpha, control, round(floor, 6), fault)

    def _found(self) -> str:
        """Why adaptive rounds ended without an answer."""
        hits, drawn = self.last.counts[self.last.worst]
        more = f" and {self.curve.mends} more repairs" if self.curve.mends else ""
        return (
            f"what is learned against the model still draws the concept after {len(self.curve.tested)} tests{more}, at alpha "
            f"{self.last.alpha:g} in {hits} of {drawn} images; repair a stronger edit (repair.alpha), or raise "
            "search_strength.epsilon"
        )

    def _unsafe(self) -> str:
        """Why no strength erases what tunes."""
        settings = self.settings
        if settings.most < settings.needed:
            return f"{settings.most} images of an input cannot prove epsilon; raise search_strength.rounds"
        hits, drawn = self.last.counts[self.last.worst]
        return (
            f"even at alpha_max = {settings.alpha_max:g}, {self.last.worst} draws the concept in {hits} of {drawn} images; "
            "raise search_strength.alpha_max, or fine-tune longer"
        )
