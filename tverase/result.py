"""What an erasure has found: the vector, its strength, the measures, and a model to save."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ConfigError, Infeasible
from .files import write_json, writing
from .models.base import Model
from .report.facts import Facts
from .report.verdict import Verdict, verdict
from .report.words import spoken_kind
from .steps.erased import write_erased
from .strength.choose import StrengthChoice
from .vector import TaskVector

if TYPE_CHECKING:
    from .concepts import Concept

ABOUT = "tverase"  # the folder in a saved model that holds vector, measures and report


@dataclass(frozen=True)
class Result:
    """The outcome of `erase`.

    tau: the vector. The erased weights are theta_0 - alpha * tau.
    alpha: the strength, None if none meets both bounds. choice: how it was chosen.
    metrics: the measures of the erased model, empty without one. facts: the data of a report.
    """

    model: Model = field(repr=False)
    source: str | None
    concepts: tuple["Concept", ...]
    tau: TaskVector = field(repr=False)
    alpha: float | None
    choice: StrengthChoice = field(repr=False)
    metrics: Mapping[str, Any]
    facts: Facts = field(repr=False)

    @property
    def verdict(self) -> Verdict:
        """Erased, refuted, unconfirmed, untested or infeasible, with the reason."""
        return verdict(self.facts)

    @property
    def erased(self) -> Model:
        """The erased model, to draw with; `Infeasible` if there is none."""
        return self.model.with_weights(self.tau.apply(self.model.weights(), self._alpha()))

    def save(self, folder: str | Path, source: str | Path | None = None) -> Path:
        """Write a folder that diffusers opens, with a model card; vector, measures and report are in its folder `tverase`.

        source: the folder of the base model, if `open_model` did not open it. A folder that exists is not overwritten.
        """
        out, alpha, origin = Path(folder), self._alpha(), source or self.source
        if origin is None:
            raise ConfigError("the folder of the base model is not known; give it as `save(folder, source=...)`.")
        if out.exists():
            raise ConfigError(f"{out} exists; choose another folder, or delete it.")
        with writing(out) as aside:
            about = aside / ABOUT
            about.mkdir(parents=True)
            write_erased(origin, self.model.weights(), self.tau, alpha, self.concepts, aside, about / "tau.safetensors")
            write_json(about / "metrics.json", dict(self.metrics))
            self.report_html(about / "report.html")
        return out

    def report(self) -> str:
        """The verdict, the recovery rate of each kind of input, and the retain loss, as text."""
        said = self.verdict
        lines = [said.title if said.proved else f"{said.outcome.capitalize()}: {said.title}", said.why]
        return "\n".join([*lines, *(_measured(self.metrics) if self.metrics else ())])

    def report_html(self, path: str | Path) -> Path:
        """Write the page that the pipeline writes, as one HTML file."""
        from .report.html import write_report
        from .report.infeasible import write_infeasible

        (write_report if self.metrics else write_infeasible)(self.facts, Path(path))
        return Path(path)

    def _alpha(self) -> float:
        if self.alpha is None:
            raise Infeasible(f"there is no erased model: {self.choice.reason}.")
        return self.alpha


def _measured(metrics: Mapping[str, Any]) -> Iterable[str]:
    retain = metrics["retain"]
    yield f"alpha {metrics['alpha']:g}; the erased model draws the concept in this share of images:"
    for kind, rate in metrics["recovery"].items():
        yield f"  {spoken_kind(kind)}: {rate:.1%}"
    yield (
        f"retain accuracy {retain['base']:.1%} before, {retain['erased']:.1%} after (loss {100 * retain['loss']:.1f} "
        f"points, {100 * retain['loss_low']:.1f} to {100 * retain['loss_high']:.1f})"
    )
