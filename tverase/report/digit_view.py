"""Facts of the digit experiment to what its page shows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..complexity import Certificate
from ..files import write_text
from .digit_facts import NAMES, DigitFacts, called
from .digit_plots import figures, write_plots
from .html import fill
from .pictures import data_uri
from .plots import as_uri
from .view import sections
from .words import percent, points, spoken

Values = dict[str, Any]


def write_digit_report(facts: DigitFacts, folder: Path) -> Path:
    """Write report.html and plots/ into `folder`; returns the page's path."""
    write_plots(facts, folder / "plots")
    write_text(folder / "report.html", fill("digits.html.j2", view(facts)))
    return folder / "report.html"


def view(facts: DigitFacts) -> Values:
    """Everything that the template asks for."""
    models = [_model(facts, name) for name in facts.verdicts]
    base = facts.verdicts["base"]["others_all"]["rate"]
    for model in models:
        model["loss"] = points(base - facts.verdicts[model["key"]]["others_all"]["rate"])
    return {
        "digit": facts.digit,
        "models": models,
        "complexities": [str(n) for n in facts.complexities],
        "authors": sorted({n for verdict in facts.verdicts.values() for n in verdict["authors"]}),
        "plots": {name: as_uri(figure) for name, figure in figures(facts).items()},
        "search": [_search(facts, method) for method in facts.strength["vectors"]],
        "bins": facts.strength["by_bin"],
        "curves": {NAMES[method]: list(map(_point, curve)) for method, curve in facts.curves.items()},
        "params": sections(facts.params),
        "judge": facts.judge,
        "costs": sorted(facts.timings.items()),
        "versions": sorted(facts.versions.items()),
    }


def _model(facts: DigitFacts, name: str) -> Values:
    verdict = facts.verdicts[name]
    found = {**verdict["complexity"], "adaptive": verdict["adaptive"]}
    pictures = {what: [data_uri(i) for i in facts.pictures[f"{name}/{what}"]] for what in ("own", "worst", "others")}
    return {
        "key": name,
        "name": called(name, verdict),
        "scores": {key: spoken(score) for key, score in found.items()},
        "authors": {n: percent(share) for n, share in verdict["authors"].items()},
        "certificate": str(Certificate(**verdict["certificate"])),
        "others": spoken(verdict["others_all"]),
        "by_digit": {digit: spoken(bound) for digit, bound in verdict["others"].items()},
        "evaluations": verdict["evaluations"],
        "pictures": pictures,
    }


def _search(facts: DigitFacts, method: str) -> Values:
    curve = facts.strength["vectors"][method]
    picked = curve["safe_alpha"]
    return {"name": NAMES[method], "alpha": "none" if picked is None else f"{picked:g}", "reason": curve["reason"]}


def _point(point: Mapping[str, Any]) -> Values:
    return {"alpha": f"{point['alpha']:g}", "worst": spoken(point["worst"]), "others": spoken(point["others"])}
