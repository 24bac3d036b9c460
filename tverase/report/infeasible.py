"""The report of a run without a strength: the verdict and the curve, because there is no erased model to show."""

from pathlib import Path

from ..files import write_text
from .facts import Facts
from .html import fill
from .panels import hardening, strength
from .plots import as_uri
from .verdict import verdict
from .view import rule


def write_infeasible(facts: Facts, path: Path) -> None:
    """Write the page to `path`; of the facts it needs parameters, strength, hardening, hashes, versions and the concepts."""
    drawn = {"strength": strength(facts)} | ({"hardening": hardening(facts)} if facts.hardening.get("rounds") else {})
    plots = {name: as_uri(figure) for name, figure in drawn.items()}
    write_text(path, fill("infeasible.html.j2", {"verdict": verdict(facts), "plots": plots, **rule(facts)}))
