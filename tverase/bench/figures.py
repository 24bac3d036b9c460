"""The ladder of each row and the trade-off of all, legible in black and white."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..report.panels import ERASED, INK, MUTED, NAME, blank, shares, tidy
from .retain import SETS
from .table import KINDS, compared

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Json = Mapping[str, Any]
ACROSS = 4  # small ladders side by side
TITLES = {"near": "near the concept", "far": "far from the concept"}


def ladder(table: Json) -> "Figure":
    """A small plot for each row: the input kind on x, the worst recovery with its interval on y; the base model in grey."""
    rows = [row for row in table["rows"] if row["kind"] != "base"]
    base = next((row for row in table["rows"] if row["kind"] == "base"), None)
    lines = max(1, -(-len(rows) // ACROSS))
    figure = blank(1.9 * lines + 0.5)
    panels = figure.subplots(lines, ACROSS, sharey=True, squeeze=False).ravel()
    for at, panel in enumerate(panels):
        if at >= len(rows):
            panel.set_axis_off()
            continue
        tidy(panel, "y")
        if base:
            _steps(panel, base["ladder"], MUTED, "o", face="none", offset=-0.14)
        _steps(panel, rows[at]["painted"], MUTED, "x", face="none", offset=0.3)
        _steps(panel, rows[at]["ladder"], ERASED, "s", face=ERASED, offset=0.08, line=True)
        title = f"{_number(table, rows[at])}{rows[at]['name']}"
        panel.set_title(title if len(title) < 30 else f"{title[:28]}…", fontsize=9, color=INK, loc="left")
        panel.set_xticks(range(len(KINDS)))
        panel.set_xlim(-0.5, len(KINDS) - 0.5)
        panel.set_ylim(-0.04, 1.04)
        shares(panel.yaxis, (0, 0.5, 1))
    kinds = ", ".join(f"{number} {name}" for number, name in enumerate(KINDS))
    marks = "square: the row; circle: the base model; cross: an attack that paints"
    figure.supxlabel(f"{kinds}\n{marks}", fontsize=8.5, color=INK)
    return figure


def _steps(
    axes: "Axes", steps: Json, colour: str, marker: str, *, face: str, offset: float, line: bool = False
) -> None:
    there = [(int(kind), bound) for kind, bound in steps.items() if bound]
    at, rates = [kind + offset for kind, _ in there], [bound["rate"] for _, bound in there]
    axes.vlines(at, [b["low"] for _, b in there], [b["high"] for _, b in there], color=colour, linewidth=1.6, alpha=0.6)
    if line:
        axes.plot(at, rates, color=colour, linewidth=0.8, alpha=0.6)
    axes.plot(at, rates, marker, color=colour, markerfacecolor=face, markersize=4.5)


def _number(table: Json, row: Json) -> str:
    number = next((at for at, one in enumerate(compared(table["rows"]), 1) if one["name"] == row["name"]), None)
    return f"{number} " if number else ""


def trade_off(table: Json) -> "Figure":
    """Worst recovery against retain loss, near and far apart; a filled square is not beaten by any other row."""
    figure = blank(4.2)
    rows = compared(table["rows"])
    panels = figure.subplots(1, len(SETS), sharey=True)
    for panel, name in zip(panels, SETS, strict=True):
        tidy(panel, "y")
        _points(panel, [(at, row) for at, row in enumerate(rows, 1) if row["retain"][name]], name)
        panel.set_title(f"retain set {TITLES[name]}", fontsize=10, color=INK, loc="left")
        panel.set_xlabel("retain loss, points", fontsize=9.5, color=INK)
        panel.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g}".replace("-", "\N{MINUS SIGN}"))
    panels[0].set_ylabel("worst recovery, input kinds 0 to 5", fontsize=9.5, color=INK)
    panels[0].set_ylim(-0.06, 1.06)
    shares(panels[0].yaxis)
    return figure


def _points(axes: "Axes", rows: Sequence[tuple[int, Json]], name: str) -> None:
    labels: dict[tuple[float, float], list[str]] = {}
    for number, row in rows:
        loss, worst, front = row["retain"][name], row["recovery"], row["front"]
        colour = ERASED if front else NAME
        axes.plot([loss["loss_low"], loss["loss_high"]], [worst["rate"]] * 2, color=colour, linewidth=1, alpha=0.35)
        axes.plot([loss["loss"]] * 2, [worst["low"], worst["high"]], color=colour, linewidth=1, alpha=0.35)
        marker, face = ("s", colour) if front else ("o", "none")
        axes.plot([loss["loss"]], [worst["rate"]], marker, color=colour, markerfacecolor=face, markersize=6)
        labels.setdefault((loss["loss"], worst["rate"]), []).append(str(number))
    for where, numbers in labels.items():
        axes.annotate(", ".join(numbers), where, xytext=(5, 4), textcoords="offset points", fontsize=9, color=INK)
