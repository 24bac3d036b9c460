"""Figures: strength, hardening, recovery by input and retain loss by label."""

import io
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import writing
from . import panels
from .facts import Facts
from .words import figure_of, plural

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SVG = {"svg.fonttype": "none", "svg.hashsalt": "tverase"}  # text stays text; the same ids every time


def figures(facts: Facts) -> dict[str, "Figure"]:
    """All figures by name; one that has nothing to show says so."""
    return {
        "strength": panels.strength(facts),
        **({"hardening": panels.hardening(facts)} if facts.hardening.get("rounds") else {}),
        "recovery": panels.recovery(facts),
        **{
            figure_of(axis): panels.losses(facts, axis, plural(axis).lower())
            for axis, found in facts.summary["retain"]["axes"].items()
            if found["by_label"]
        },
    }


def write_plots(facts: Facts, folder: Path, dpi: int = 150) -> None:
    """One PNG for each figure; the same facts give the same bytes."""
    for name, figure in figures(facts).items():
        save_png(figure, folder / f"{name}.png", dpi)


def save_png(figure: "Figure", path: Path, dpi: int = 150) -> None:
    """A figure on white, with no time in it."""
    with writing(path) as aside:
        figure.savefig(aside, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})


def as_uri(figure: "Figure") -> str:
    """The figure as SVG, for an `src`."""
    return f"data:image/svg+xml;base64,{b64encode(svg(figure).encode()).decode()}"


def svg(figure: "Figure") -> str:
    """The figure as SVG that follows the page's light or dark scheme by itself."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(_SVG):
        figure.savefig(
            buffer, format="svg", facecolor="none", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace("'DejaVu Sans'", "system-ui, 'DejaVu Sans'")
    names = {colour: f"--c{i}" for i, colour in enumerate(panels.DARK)}
    light = "".join(f"{name}:{colour};" for colour, name in names.items())
    dark = "".join(f"{name}:{panels.DARK[colour]};" for colour, name in names.items())
    for colour, name in names.items():
        text = text.replace(colour, f"var({name})")
    style = f"<style>:root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    return text.replace("<defs>", f"{style}<defs>", 1)
