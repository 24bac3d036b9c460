"""The report as one HTML file that needs nothing else: no network, no script, no file beside it."""

from importlib.resources import files
from pathlib import Path

from ..files import write_text
from .facts import Facts
from .view import view


def write_report(facts: Facts, path: Path) -> None:
    """Write the page to `path`; equal facts give equal bytes."""
    write_text(path, render(facts))


def render(facts: Facts) -> str:
    """The page as text; every value is escaped on its way in."""
    from jinja2 import Environment, StrictUndefined

    template, css = (
        files(__package__).joinpath(name).read_text(encoding="utf-8") for name in ("report.html.j2", "report.css")
    )
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return page.from_string(template).render(css=css, **view(facts)) + "\n"
