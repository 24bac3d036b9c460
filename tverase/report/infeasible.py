"""The report of a search without a strength: the verdict and the curve, because there is no erased model to show."""

from pathlib import Path

from ..files import write_text
from .facts import Facts
from .html import fill
from .panels import strength
from .plots import as_uri
from .verdict import verdict
from .view import curve, sections
from .words import limit


def write_infeasible(facts: Facts, path: Path) -> None:
    """Write the page to `path`; of the facts it needs parameters, strength, hashes, versions and the concepts."""
    values = {
        "verdict": verdict(facts),
        "strength": curve(facts),
        "plots": {"strength": as_uri(strength(facts))},
        "params": sections(facts.params),
        "hashes": sorted(facts.hashes.items()),
        "versions": sorted(facts.versions.items()),
        "epsilon": limit(facts, "epsilon"),
        "delta": limit(facts, "delta"),
    }
    write_text(path, fill("infeasible.html.j2", values))
