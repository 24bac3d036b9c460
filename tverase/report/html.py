"""The report as one HTML file that needs nothing else: no network, no script, no file beside it."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..files import write_text
from .facts import Facts
from .view import view


def write_report(facts: Facts, path: Path) -> None:
    """Write the page to `path`; equal facts give equal bytes."""
    write_text(path, render(facts))


def render(facts: Facts) -> str:
    """The page as text."""
    return fill("report.html.j2", view(facts))


def fill(template: str, values: Mapping[str, Any]) -> str:
    """A template of this folder with its values; every value is escaped on its way in."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    css = files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    page = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return page.get_template(template).render(css=css, **values) + "\n"
