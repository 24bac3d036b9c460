"""The pipeline as one call: `erase` runs every step in memory and returns a `Result`."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .bars import show
from .concepts import Concept
from .concepts.base import distinct
from .config import Params
from .context import Context
from .errors import ConfigError, Infeasible
from .judges.base import Judge, about
from .models import folder
from .models.base import Meter, Model
from .progress import Tell, silent
from .registry import built
from .report.about import judge_facts, versions
from .report.facts import Facts
from .result import Result
from .steps import drawing, evaluation, finetuning, hardening, inversion, selection, strength, vector
from .steps.erased import require_alpha, write_erased
from .steps.images import Images
from .strength.choose import StrengthChoice
from .vector import TaskVector

Concepts = Concept | str | Sequence[Concept | str]
ELSEWHERE = ("concepts", "name", "model", "judge", "effort", "recipe", "seed", "runtime", "register")


def open_model(where: str | Path, device: str = "cpu") -> Model:
    """The model in a diffusers folder, or with a hub id, in float32. `Result.save` finds the other parts there again."""
    model = folder.open_model(where, device)
    object.__setattr__(model, "source", str(where))
    return model


def prepare(
    model: Model, concepts: Concepts, params: Params, judge: Judge | dict[str, Any] | str | None = None
) -> Context:
    """What the steps share. judge: a judge, or its settings; None is the one that the concepts name."""
    given = [concepts] if isinstance(concepts, Concept | str) else list(concepts)
    found = tuple(Concept.named(one) if isinstance(one, str) else one for one in given)
    if not found:
        raise ConfigError("no concept is given; give one, as in erase(model, Concept.named('bomb')).")
    distinct(found)
    opened: Judge
    if judge is None or isinstance(judge, dict | str):
        opened = built("judge", judge_of(found, judge)).open(str(model.device))
    else:
        opened = judge
    return Context(model.metered(Meter()), found, opened, params.sampling, params.invert, params.seed)


def judge_of(concepts: Sequence[Concept], judge: dict[str, Any] | str | None) -> dict[str, Any] | str:
    """The settings that are given, or those of the concepts, which have to agree."""
    named = [concept.judge for concept in concepts if concept.judge is not None]
    if judge is not None:
        return judge
    if not named or any(other != named[0] for other in named):
        listed = ", ".join(concept.name for concept in concepts)
        raise ConfigError(f"{'no judge is' if not named else 'different judges are'} named for {listed}; give `judge`.")
    return named[0]


def erase(
    model: Model,
    concepts: Concepts,
    *,
    effort: str = "standard",
    recipe: str = "robust",
    judge: Judge | dict[str, Any] | str | None = None,
    seed: int = 0,
    progress: bool = True,
    **sections: Any,
) -> Result:
    """Erase concepts from a model, choose the strength and score the result; no file is written.

    effort: quick, standard or thorough. recipe: robust, or paper without hardening. judge: a judge or its settings; None is the
    one that the concepts name. sections: of params.yaml, as in `finetune={"steps": 100}`. The numbers are those of the
    pipeline with the same parameters.
    """
    if odd := [name for name in sections if name in ELSEWHERE]:
        raise ConfigError(f"{odd[0]} is no section for `erase`; it is an argument, or of the pipeline alone.")
    params = Params.parse({**sections, "effort": effort, "recipe": recipe, "seed": seed}, "erase")
    work = _Work(prepare(model, concepts, params, judge), params, getattr(model, "source", None), progress)
    return work.run()


@dataclass
class _Work:
    """One call of `erase`: the steps in their order, each with its time and its evaluations."""

    context: Context
    params: Params
    source: str | None
    progress: bool
    timings: dict[str, float] = field(default_factory=dict)
    cost: dict[str, int] = field(default_factory=dict)

    def run(self) -> Result:
        params, roles = self.params, ("tune", "validate")
        with self._step("make_images") as context:
            drawn = drawing.make_images(context, params.make_images)
        tau = self._vector(drawn)
        with self._step("invert") as context:
            found = inversion.invert(context, drawn)
            index = found.index(context)
        tune, validate = (found.sets[role] for role in roles)
        with self._step("select") as context:
            tau, _ = selection.select_weights(context, tau, tune, params.select)
        with self._step("harden") as context:
            hardened = hardening.harden(context, tau, drawn, tune, params.harden)
        with self._step("choose_strength") as context:
            how = params.choose_strength, hardened.teacher
            choice = strength.choose_strength(context, hardened.vector, drawn, tune, validate, *how)
        alpha = self._alpha(choice)
        evaluated = None
        if alpha is not None:
            erased = self._erased(hardened.vector, alpha)
            with self._step("evaluate") as context:
                evaluated = evaluation.evaluate(context, erased, found.sets["report"], params.evaluate)
        pictures = {f"inversion/{name}": picture for name, picture in found.pictures.items()}
        pictures |= {f"concept/{k.partition('/')[2]}": v for k, v in drawn.tensors.items() if k.startswith("shown/")}
        return self._result(hardened, alpha, choice, evaluated, index, pictures)

    def _vector(self, drawn: Images) -> TaskVector:
        """The vector of the fine-tunes, or of another eraser."""
        params = self.params
        if params.eraser is not None:
            with self._step("build_vector") as context:
                return vector.erased_by(context, built("eraser", params.eraser), drawn)
        with self._step("finetune") as context:
            finetuned = finetuning.fine_tune(context, drawn, params.finetune)
        with self._step("build_vector") as context:
            return vector.build_vector(context, finetuned, drawn, params.build_vector)

    def _alpha(self, choice: StrengthChoice) -> float | None:
        if self.params.erase.alpha is not None:
            return self.params.erase.alpha
        try:
            return require_alpha(choice.as_dict(), self.params.choose_strength)
        except Infeasible:
            return None

    def _erased(self, tau: TaskVector, alpha: float) -> Model:
        """The erased model as it is saved, that is, in the precision of its folder; in float32 if that is not known."""
        context = self.context
        if self.source is None:
            return context.model.with_weights(tau.apply(context.model.weights(), alpha))
        with TemporaryDirectory() as place:
            out, vector_file = Path(place) / "erased", Path(place) / "tau.safetensors"
            write_erased(self.source, context.model.weights(), tau, alpha, context.concepts, out, vector_file)
            return folder.open_model(out, str(context.model.device)).metered(context.model.meter)

    def _result(
        self,
        hardened: hardening.Hardened,
        alpha: float | None,
        choice: StrengthChoice,
        evaluated: evaluation.Evaluation | None,
        index: dict[str, Any],
        pictures: dict[str, Any],
    ) -> Result:
        context, names = self.context, [concept.name for concept in self.context.concepts]
        judged = about(context.judge)
        metrics = evaluated.metrics(alpha) if evaluated is not None and alpha is not None else {}
        params = {**self.params.model_dump(mode="json", by_alias=True), "concepts": names, "judge": judged["name"]}
        facts = Facts(
            params=params,
            summary=evaluated.summary if evaluated else {"concepts": names, "rows": [], "worst": {}},
            metrics=metrics,
            strength={**choice.as_dict(), "judge": judged},
            inversions=index,
            pictures=pictures | (dict(evaluated.pictures) if evaluated else {}),
            hashes={},
            timings=self.timings,
            cost=self.cost,
            judges=judge_facts(judged),
            versions=versions(),
            hardening=hardened.as_dict(),
        )
        return Result(context.model, self.source, context.concepts, hardened.vector, alpha, choice, metrics, facts)

    @contextmanager
    def _step(self, name: str) -> Iterator[Context]:
        """The context of one step, which tells how far it is."""
        meter, started = self.context.model.meter, time.monotonic()
        before = meter.evaluations
        with self._shown(name) as tell:
            yield replace(self.context, tell=tell)
        self.timings[name] = round(time.monotonic() - started, 2)
        self.cost[name] = meter.evaluations - before

    @contextmanager
    def _shown(self, name: str) -> Iterator[Tell]:
        if self.progress:
            with show(name) as tell:
                yield tell
        else:
            yield silent
