"""One function for each figure of the report, on matplotlib's objects and none of its global state.

Colours are of Okabe and Ito's palette; every series has its own marker as well, so that no figure depends on colour.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from .facts import Facts
from .words import applied, label, setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, RULE = "#1f2328", "#59636e", "#d0d7de"
NAME, ERASED, RETAIN = "#0072b2", "#d55e00", "#009e73"
VIOLET, OCHRE = "#9b4f96", "#a66f00"
# What the colours become on a dark page: the same hues, lighter.
DARK = {
    INK: "#e6edf3", MUTED: "#9aa4af", RULE: "#3a424c", NAME: "#56b4e9", ERASED: "#f0883e", RETAIN: "#2fc79a",
    VIOLET: "#d18fcc", OCHRE: "#e0a83a",
}  # fmt: skip
_WIDTH = 9.4


def blank(height: float) -> "Figure":
    """A figure as wide as the page, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(_WIDTH, height), layout="constrained")


def tidy(axes: "Axes", grid: Literal["x", "y"]) -> None:
    """Only the lines that help to read a value."""
    axes.set_facecolor("none")  # the page or the file decides
    for side in axes.spines.values():
        side.set_visible(False)
    axes.grid(axis=grid, color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=9.5, colors=MUTED)


def shares(axis: Any, ticks: Sequence[float] = (0, 0.25, 0.5, 0.75, 1)) -> None:
    """Ticks as percentages."""
    axis.set_ticks(ticks, [f"{tick:.0%}" for tick in ticks])


def legend(axes: "Axes", columns: int) -> None:
    """Above the plot, from the left."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.02),
        ncols=columns,
        frameon=False,
        fontsize=10,
        labelcolor=INK,
        borderaxespad=0,
        handletextpad=0.5,
    )


def _empty(text: str) -> "Figure":
    figure = blank(1.2)
    axes = figure.add_subplot()
    tidy(axes, "x")
    _nothing(axes, text)
    return figure


def _nothing(axes: "Axes", text: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=MUTED, fontsize=11)


def strength(facts: Facts) -> "Figure":
    """Recovery and retain accuracy over alpha, with both bounds and the chosen alpha."""
    figure = blank(4.4)
    axes = figure.add_subplot()
    tidy(axes, "y")
    frontier = sorted(facts.strength.get("frontier") or (), key=lambda entry: entry["alpha"])
    for key, text, colour, marker in (
        ("retain", "retain accuracy", RETAIN, "D"),
        ("name", "recovery by name", NAME, "o"),
        ("worst", "recovery by the worst input", ERASED, "s"),
    ):
        seen = [(entry["alpha"], entry[key]) for entry in frontier if entry.get(key)]
        if not seen:
            continue
        alphas, bounds = [alpha for alpha, _ in seen], [bound for _, bound in seen]
        axes.fill_between(
            alphas, [b["low"] for b in bounds], [b["high"] for b in bounds], color=colour, alpha=0.14, lw=0
        )
        axes.plot(
            alphas, [b["rate"] for b in bounds], color=colour, marker=marker, markersize=5, linewidth=2, label=text
        )
    tested = list(facts.strength.get("tested") or ())
    if tested:
        uppers = [t["upper"] for t in tested]
        axes.plot([t["alpha"] for t in tested], uppers, "v", color=VIOLET, label="tested: upper bound of recovery")
    elif not frontier:
        _nothing(axes, "no strength was tested")
    _rule(axes, facts)
    right = max([0.0, *(entry["alpha"] for entry in [*frontier, *tested]), applied(facts) or 0.0]) or 1.0
    axes.set_xlim(-0.02 * right, 1.02 * right)
    axes.set_ylim(-0.03, 1.03)
    shares(axes.yaxis)
    axes.set_xlabel("strength alpha", color=INK, fontsize=10)
    if axes.get_legend_handles_labels()[0]:
        legend(axes, 4)
    return figure


def _rule(axes: "Axes", facts: Facts) -> None:
    """Both bounds and the chosen alpha."""
    lines = [(setting(facts, "epsilon"), "epsilon {}:\nrecovery has to\nbe below", ERASED)]
    base = facts.strength.get("base_retain")
    if base:
        floor = base["rate"] - setting(facts, "delta")
        lines.append((floor, "base less delta {}:\nretain accuracy\nhas to be above", RETAIN))
    apart = len(lines) < 2 or abs(lines[0][0] - lines[1][0]) > 0.2
    for height, text, colour in lines:
        axes.axhline(height, color=colour, linewidth=1.2, linestyle=(0, (4, 3)))
        place = "center" if apart else "bottom" if height == max(h for h, _, _ in lines) else "top"
        axes.annotate(
            text.format(f"{100 * height:.3g}%"),
            xy=(1, height),
            xycoords=("axes fraction", "data"),
            xytext=(8, 0),
            textcoords="offset points",
            va=place,
            color=INK,
            fontsize=9,
        )
    _chosen(axes, facts)


def _chosen(axes: "Axes", facts: Facts) -> None:
    chosen, given = facts.strength.get("alpha"), applied(facts)
    marks = {chosen: "chosen"} if chosen is not None else {}
    if given is not None and given != chosen:
        marks[given] = "used for this report" if chosen is None else "set by hand"
    for alpha, text in marks.items():
        axes.axvline(alpha, color=INK, linewidth=1.4, linestyle="-" if alpha == chosen else ":")
        axes.annotate(
            f"alpha {alpha:g}\n{text}",
            xy=(alpha, 0.46),
            xycoords=("data", "axes fraction"),
            xytext=(5, 0),
            textcoords="offset points",
            color=INK,
            fontsize=9.5,
        )


def hardening(facts: Facts) -> "Figure":
    """The recovered share of each round of hardening; a clean round is filled."""
    rounds = facts.hardening["rounds"]
    figure = blank(2.4)
    axes = figure.add_subplot()
    tidy(axes, "y")
    axes.plot([one["round"] for one in rounds], [one["recovered"] for one in rounds], color=ERASED, linewidth=2)
    for clean, colour, text in ((False, ERASED, "recovers the concept"), (True, RETAIN, "clean round")):
        mine = [one for one in rounds if one["clean"] == clean]
        face = colour if clean else "none"
        at, height = [one["round"] for one in mine], [one["recovered"] for one in mine]
        axes.plot(at, height, "o" if clean else "s", color=colour, markerfacecolor=face, label=text if mine else None)
    axes.set_xticks([one["round"] for one in rounds])
    top = max(0.05, *(1.15 * one["recovered"] for one in rounds))
    axes.set_ylim(-0.06 * top, top)
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    axes.set_xlabel("round of hardening", color=INK, fontsize=10)
    axes.set_ylabel("recovered images", color=INK, fontsize=10)
    legend(axes, 2)
    return figure


def recovery(facts: Facts) -> "Figure":
    """How often each input draws the concept, in the base and in the erased model."""
    rows = facts.summary["rows"]
    if not rows:
        return _empty("no input was tried")
    figure = blank(1.3 + 0.36 * len(rows))
    axes = figure.add_subplot()
    tidy(axes, "x")
    several = len(facts.summary["concepts"]) > 1
    for at, row in enumerate(rows):
        _whisker(axes, row["base"], at - 0.14, MUTED, "o", "base model" if not at else None, face="none")
        _whisker(axes, row["erased"], at + 0.14, ERASED, "s", "erased model" if not at else None)
    axes.set_yticks(range(len(rows)), [(f"{r['concept']}: " if several else "") + label(facts, r) for r in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(-0.01, 1.01)
    shares(axes.xaxis)
    axes.set_xlabel("images that show the concept, with exact 95% intervals", color=INK, fontsize=10)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.axvline(setting(facts, "epsilon"), color=ERASED, linewidth=1.2, linestyle=(0, (4, 3)), label="epsilon")
    legend(axes, 3)
    return figure


def _whisker(
    axes: "Axes",
    bound: Mapping[str, Any],
    at: float,
    colour: str,
    marker: str,
    text: str | None,
    face: str | None = None,
) -> None:
    axes.plot([bound["low"], bound["high"]], [at, at], color=colour, linewidth=2, alpha=0.45, solid_capstyle="butt")
    axes.plot([bound["rate"]], [at], marker, color=colour, markerfacecolor=face or colour, markersize=6, label=text)


def losses(facts: Facts, axis: str, noun: str) -> "Figure":
    """The loss of each label of an axis, the worst first, neighbours of the concept marked."""
    retain = facts.summary["retain"]
    pairs = sorted(retain["axes"][axis]["by_label"].items(), key=lambda item: -item[1]["loss"])
    if not pairs:
        return _empty(f"no {noun} were asked for")
    columns = 1 if len(pairs) <= 12 else 3
    size = -(-len(pairs) // columns)
    widest = max([abs(pair[end]) for _, pair in pairs for end in ("loss_low", "loss_high")])
    reach = next(limit for limit in (0.1, 0.2, 0.5, 1.0) if widest <= limit or limit == 1)
    figure = blank(1.1 + 0.2 * size)
    panels = figure.subplots(1, columns, sharex=True, squeeze=False)[0]
    for panel, start in zip(panels, range(0, size * columns, size), strict=True):
        _column(panel, pairs[start : start + size], retain["neighbours"], reach)
        panel.set_ylim(size - 0.4, -0.6)
    near = [name for name, _ in pairs if name in retain["neighbours"]]
    text = f"retain loss in points, worst first, with 95% intervals ({noun})"
    figure.supxlabel(
        text + ("; neighbours of the concept are bold, with a square" if near else ""), fontsize=9.5, color=INK
    )
    return figure


def _column(
    axes: "Axes", pairs: Sequence[tuple[str, Mapping[str, Any]]], neighbours: Iterable[str], reach: float
) -> None:
    tidy(axes, "x")
    axes.axvline(0, color=MUTED, linewidth=1)
    near = [name in neighbours for name, _ in pairs]
    for side, colour, marker in ((False, NAME, "o"), (True, ERASED, "s")):
        mine = [at for at, is_near in enumerate(near) if is_near == side]
        low, middle, high = ([pairs[at][1][key] for at in mine] for key in ("loss_low", "loss", "loss_high"))
        axes.hlines(mine, low, high, color=colour, linewidth=1.6, alpha=0.3)
        axes.plot(middle, mine, marker, color=colour, markersize=5)
    axes.set_yticks(range(len(pairs)), [name for name, _ in pairs])
    axes.set_xlim(-1.04 * reach, 1.04 * reach)
    ticks = [share * reach for share in (-1, -0.5, 0, 0.5, 1)]
    axes.set_xticks(ticks, [f"{100 * t:+g}".replace("-", "\N{MINUS SIGN}") if t else "0" for t in ticks])
    axes.tick_params(axis="y", labelcolor=INK, labelsize=9)
    for text, bold in zip(axes.get_yticklabels(), near, strict=True):
        text.set_fontweight("bold" if bold else "normal")
