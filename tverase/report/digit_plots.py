"""The two figures of the digit experiment: the worst input over complexity, and worst input and cost over alpha."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import panels
from .digit_facts import NAMES, DigitFacts, called
from .plots import save_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINES = {
    "base": (panels.INK, "o"),
    "resteer": (panels.VIOLET, "^"),
    "esd": (panels.OCHRE, "v"),
    "random": (panels.ERASED, "s"),
    "repaired": (panels.CONTROL, "P"),
    "true": (panels.NAME, "D"),
}


def figures(facts: DigitFacts) -> dict[str, "Figure"]:
    """Both figures by name."""
    return {"complexity": complexity(facts), "alpha": alpha(facts)}


def write_plots(facts: DigitFacts, folder: Path) -> None:
    """One PNG for each figure."""
    for name, figure in figures(facts).items():
        save_png(figure, folder / f"{name}.png")


def complexity(facts: DigitFacts) -> "Figure":
    """Of each model, how often its worst input draws the digit on fresh images, with exact intervals."""
    figure = panels.blank(4.6)
    axes = figure.add_subplot()
    panels.tidy(axes, "y")
    shift = 0.07  # side by side, so that intervals do not cover each other
    for at, (name, verdict) in enumerate(facts.verdicts.items()):
        colour, marker = LINES[name]
        scores = [verdict["complexity"][str(n)] for n in facts.complexities]
        places = [n + shift * (at - len(facts.verdicts) / 2) for n in facts.complexities]
        _with_ends(axes, places, scores, colour, marker, called(name, verdict))
    axes.set_xticks(facts.complexities)
    axes.set_xlabel("complexity: values an axis of the grid of inputs", color=panels.INK, fontsize=10)
    axes.set_ylim(-0.03, 1.03)
    panels.shares(axes.yaxis)
    panels.legend(axes, 2)
    return figure


def alpha(facts: DigitFacts) -> "Figure":
    """One panel a task vector: the worst input and the other digits over alpha, and the alpha that was chosen."""
    figure = panels.blank(4.2)
    for at, (method, points) in enumerate(facts.curves.items()):
        axes = figure.add_subplot(1, len(facts.curves), at + 1)
        panels.tidy(axes, "y")
        alphas = [point["alpha"] for point in points]
        for key, text, colour, marker in (
            ("worst", "worst input draws the digit", panels.ERASED, "s"),
            ("others", "other digits drawn rightly", panels.CONTROL, "o"),
        ):
            _with_ends(axes, alphas, [point[key] for point in points], colour, marker, text)
        picked = facts.strength["vectors"][method]["safe_alpha"]
        if picked is not None:
            axes.axvline(picked, color=panels.MUTED, linewidth=1, linestyle="--", label="alpha that the search picked")
        axes.set_title(NAMES[method], loc="left", color=panels.INK, fontsize=10)
        axes.set_ylim(-0.03, 1.03)
        panels.shares(axes.yaxis)
        axes.set_xlabel("strength alpha", color=panels.INK, fontsize=10)
        if at == 0:
            figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3, frameon=False)
    return figure


def _with_ends(axes: Any, places: list[float], bounds: list[Any], colour: str, marker: str, text: str) -> None:
    rates = [bound["rate"] for bound in bounds]
    ends = [
        [max(0.0, b["rate"] - b["low"]) for b in bounds],
        [max(0.0, b["high"] - b["rate"]) for b in bounds],
    ]
    axes.errorbar(
        places, rates, yerr=ends, color=colour, marker=marker, markersize=5, linewidth=1.6, elinewidth=1, label=text
    )
